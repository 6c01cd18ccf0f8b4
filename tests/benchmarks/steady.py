"""The steady state of a job over plain processes that do the same decoding, and over such that do all of the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.bare import DecodeLoop, WholeLoop, images_per_second
from tests.benchmarks.job import run_job
from tests.benchmarks.measurement import Figures, Line, Measurement
from tests.benchmarks.photos import make_jpegs, write_parquets, write_tars
from tests.benchmarks.work import PREPROCESS

WRITERS: dict[str, Callable[[Path, list[bytes], int], None]] = {"webdataset": write_tars, "parquet": write_parquets}


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """Images of one size in one format, in shards of 1,000, through one layout."""

    width: int
    height: int
    format: str
    preprocess: Mapping[str, Any]
    layout: str = "auto"

    def rounds(self, folder: Path, images: int) -> Iterator[Figures]:
        data = folder / "data"
        WRITERS[self.format](data, make_jpegs(self.width, self.height), images)
        files = sorted(map(str, data.iterdir()))
        decode = DecodeLoop(format=self.format, preprocess=self.preprocess)
        whole = WholeLoop(format=self.format, preprocess=self.preprocess, out=folder / "bare")
        while True:
            limit, bare_job = images_per_second(decode, files), images_per_second(whole, files)
            job = run_job(
                folder, data=str(data), images=images, preprocess=self.preprocess, compute={"layout": self.layout}
            )
            yield {
                "over limit": job.steady / limit,
                "over bare job": job.steady / bare_job,
                "limit images/s": limit,
                "bare job images/s": bare_job,
                "steady images/s": job.steady,
                "whole job images/s": images / job.ran.seconds,
                "first prediction s": job.first_prediction_s,
                "driver MiB": job.ran.driver_mib,
                "worker MiB": job.ran.worker_mib,
            }


def steady(
    name: str, what: str, case: Steady, *, size: int, quick_size: int, bound: float | None = None
) -> Measurement:
    """The measurement of `case`, which `what` says in words."""
    return Measurement(
        name=name,
        rounds=case.rounds,
        size=size,
        quick_size=quick_size,
        lines=(
            Line(figure="over limit", what=f"steady state over bare decoding: {what}", bound=bound),
            Line(figure="over bare job", what=f"the same over bare processes that do all of the work: {what}"),
        ),
    )


MEASUREMENTS = (
    *(
        steady(
            f"steady-{width}x{height}-{format}",
            f"{width}x{height}, {format}",
            Steady(width=width, height=height, format=format, preprocess=PREPROCESS),
            size=size,
            quick_size=quick,
            bound=0.92,
        )
        for width, height, size, quick in ((500, 375, 20_000, 8_000), (1280, 960, 8_000, 3_000))
        for format in WRITERS
    ),
    steady(
        "split-500x375-webdataset",
        "500x375, webdataset, split layout",
        Steady(width=500, height=375, format="webdataset", preprocess=PREPROCESS, layout="split"),
        size=20_000,
        quick_size=8_000,
    ),
    steady(
        "tiny-images",
        "32x32, webdataset",
        Steady(width=32, height=32, format="webdataset", preprocess={"resize_px": [32, 32]}),
        size=100_000,
        quick_size=20_000,
        bound=0.7,
    ),
)
