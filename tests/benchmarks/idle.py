"""How busy the job keeps a model that is slower than all that feeds it: the best that a pipeline can do is be ready.

The model sleeps PAUSE_S for a batch, whatever it holds. Measured is how much of the steady state it and its copies
took; the rest went to handing over, events and commits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.job import run_job
from tests.benchmarks.measurement import Figures, Line, Measurement
from tests.benchmarks.photos import make_jpegs, write_tars

PAUSE_S = 0.05
BATCH_ROWS = 125
"""A shard of 1,000 images is 8 whole batches."""
TINY = {"resize_px": [32, 32]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """One predictor in a layout; joined it has decode threads of its own."""

    layout: str

    def rounds(self, folder: Path, images: int) -> Iterator[Figures]:
        data = folder / "data"
        write_tars(data, make_jpegs(32, 32), images)
        compute = {"layout": self.layout, "predictors": 1, "batch_size": BATCH_ROWS}
        while True:
            job = run_job(folder, data=str(data), images=images, preprocess=TINY, compute=compute, pause_s=PAUSE_S)
            stages, steady_s = job.summary["stages"], (images - BATCH_ROWS) / job.steady
            yield {"model busy": (stages["copy"] + stages["model"]) / steady_s, "steady images/s": job.steady}


MEASUREMENTS = tuple(
    Measurement(
        name=f"idle-{layout}",
        rounds=Idle(layout=layout).rounds,
        size=50_000,
        quick_size=20_000,
        lines=(Line(figure="model busy", what=f"a model of 50 ms a batch, {layout} layout", bound=0.97),),
    )
    for layout in ("joined", "split")
)
