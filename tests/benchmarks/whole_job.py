"""A whole job, from the command to its exit, over other frameworks that do the same work on the same Parquet files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.job import run_job
from tests.benchmarks.measurement import Figures, Line, Measurement
from tests.benchmarks.photos import make_jpegs, write_parquets
from tests.benchmarks.process import run
from tests.benchmarks.work import PREPROCESS, SCHEMA

PEERS = {"Daft": "daft_native", "DataLoader": "data_loader", "Ray Data": "ray_data"}
SAME_LABELS = 0.95
SAME_SCORES = 0.01
"""Of the images, and of a mean score: Daft's resize is not ours to the last bit, and the tiny model is undecided."""


def rounds(folder: Path, images: int) -> Iterator[Figures]:
    """Seconds of the job and of every peer that is installed, and how many times the job's each peer took."""
    data = folder / "data"
    write_parquets(data, make_jpegs(500, 375), images)
    peers = {name: module for name, module in PEERS.items() if name != "Daft" or find_spec("daft")}
    if len(peers) < len(PEERS):
        print("Daft is not installed, its figures are left out: pip install '.[bench]'", file=sys.stderr)
    while True:
        job = run_job(folder, data=str(data), images=images, preprocess=PREPROCESS, id_column="id")
        ours = _predictions(folder / "out")
        figures = {"job s": job.ran.seconds}
        for name, module in peers.items():
            seconds = _peer_seconds(module, data, folder / module)
            _demand_same(ours, _predictions(folder / module), name)
            figures |= {f"{name} s": seconds, f"over {name}": seconds / job.ran.seconds}
        yield figures


def _peer_seconds(module: str, data: Path, out: Path) -> float:
    shutil.rmtree(out, ignore_errors=True)
    return run([sys.executable, "-m", f"tests.benchmarks.peers.{module}", str(data), str(out)]).seconds


def _predictions(folder: Path) -> pa.Table:
    """In the order of their ids."""
    tables = [pq.read_table(file, columns=SCHEMA.names) for file in folder.rglob("*.parquet")]
    return pa.concat_tables(table.cast(SCHEMA) for table in tables).sort_by("image_id")


def _demand_same(ours: pa.Table, theirs: pa.Table, name: str) -> None:
    """RuntimeError where a peer has not done the same work."""
    for column in ("image_id", "width", "height"):
        if ours[column] != theirs[column]:
            raise RuntimeError(f"{name} has another {column}")
    labels, scores = ((ours[column].to_numpy(), theirs[column].to_numpy()) for column in ("label_index", "score"))
    same, apart = np.mean(np.equal(*labels)), np.mean(np.abs(np.subtract(*scores)))
    if same < SAME_LABELS or apart > SAME_SCORES:
        raise RuntimeError(f"{name} predicts {same:.1%} of the labels; its scores are {apart:.3f} apart in the mean")


MEASUREMENT = Measurement(
    name="whole-job",
    rounds=rounds,
    size=48_000,
    quick_size=6_000,
    lines=(
        Line(figure="over Daft", what="whole job, 500x375, over Daft's native runner, its own way", bound=1.5),
        Line(figure="over DataLoader", what="over a DataLoader with our decoder and resize", bound=1.0),
        Line(figure="over Ray Data", what="over a plain Ray Data pipeline with our decoder and resize"),
    ),
)
