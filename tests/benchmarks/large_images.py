"""A worker's memory while images of 50 megapixels come among small ones, over what a predictor is reckoned to take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from skimage import data as pictures

from tests.benchmarks.job import run_job
from tests.benchmarks.measurement import Figures, Line, Measurement
from tests.benchmarks.photos import make_jpegs, write_tars
from tests.benchmarks.work import PREPROCESS
from vision_batch.inference.layout import CPU_PREDICTOR_BYTES

LARGE_PX = (8660, 5774)
EVERY = 100
"""One image of so many is large: one JPEG, which can be decoded scaled down, then one PNG, which cannot."""


def rounds(folder: Path, size: int) -> Iterator[Figures]:
    """Every tar has its large images in the same places, so that shards in work at once meet them together."""
    jpegs = make_jpegs(500, 375, 2 * EVERY)
    large = cv2.resize(np.asarray(pictures.astronaut())[..., ::-1], LARGE_PX, interpolation=cv2.INTER_CUBIC)
    jpegs[EVERY // 2] = cv2.imencode(".jpg", large)[1].tobytes()
    jpegs[EVERY + EVERY // 2] = cv2.imencode(".png", large)[1].tobytes()
    data = folder / "data"
    write_tars(data, jpegs, size)
    budget_mib = CPU_PREDICTOR_BYTES / (1 << 20)
    while True:
        job = run_job(folder, data=str(data), images=size, preprocess=PREPROCESS)
        yield {
            "over budget": job.ran.worker_mib / budget_mib,
            "worker MiB": job.ran.worker_mib,
            "driver MiB": job.ran.driver_mib,
        }


MEASUREMENT = Measurement(
    name="large-images",
    rounds=rounds,
    size=4_000,
    quick_size=2_000,
    lines=(
        Line(
            figure="over budget",
            what="worker memory over its budget of 1 GiB, images of 50 megapixels among small ones",
            better="less",
            bound=1.0,
            steadfast=True,
        ),
    ),
)
