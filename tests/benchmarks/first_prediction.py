"""From the command to the first prediction, over the least that anybody who uses Ray and torch has to wait for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.job import run_job
from tests.benchmarks.measurement import Figures, Line, Measurement
from tests.benchmarks.photos import make_jpegs, write_tars
from tests.benchmarks.process import run
from tests.benchmarks.work import PREPROCESS

BARE_START = """
import time
import ray

@ray.remote
class Actor:
    def ready(self):
        import torch
        return time.time()

ray.init(address="local", include_dashboard=False, log_to_driver=False)
print(ray.get(Actor.remote().ready.remote()))
"""


def rounds(folder: Path, images: int) -> Iterator[Figures]:
    """Seconds until the model has answered once, and until an actor of a bare Ray has imported torch."""
    data = folder / "data"
    write_tars(data, make_jpegs(500, 375), images)
    while True:
        bare = run([sys.executable, "-c", BARE_START])
        bare_s = float(bare.output.split()[-1]) - bare.started
        job = run_job(folder, data=str(data), images=images, preprocess=PREPROCESS)
        yield {
            "over bare Ray": job.first_prediction_s / bare_s,
            "first prediction s": job.first_prediction_s,
            "bare Ray s": bare_s,
            "whole job s": job.ran.seconds,
        }


MEASUREMENT = Measurement(
    name="first-prediction",
    rounds=rounds,
    size=2_000,
    quick_size=2_000,
    lines=(
        Line(
            figure="over bare Ray",
            what="command to first prediction over a bare `ray.init` and one actor that imports torch",
            better="less",
            bound=1.3,
        ),
    ),
)
