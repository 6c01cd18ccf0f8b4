"""Seconds and memory of an evaluation: predictions and truth made on disk, then measured by the command.

    python -m tests.benchmarks.evaluate --rows 100000000
    python -m tests.benchmarks.evaluate --rows 10000000 --truth     # joined with a truth of its own, by image_id
    python -m tests.benchmarks.evaluate --rows 1000000 --boxes      # six in each image, with their truth beside them

Ten classes, of which five are listed. Without `--truth` there are at most ten different files, which are linked as
often as it takes: ids repeat then, which nobody asks about where predictions bring their truth.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.process import run

FILE_ROWS = 1_000_000
DIFFERENT_FILES = 10
LABELS = np.array([f"class {index}" for index in range(10)])
LISTED = 5
BOXES_ROWS = 50_000
BOXES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of an evaluation as a command."""

    seconds: float
    mib: float
    images: int


def make_rows(folder: Path, rows: int, *, has_truth: bool) -> None:
    """`rows` predictions in `p`; their truth is beside them, or in `t`, in another order."""
    for name in ("p", "t"):
        (folder / name).mkdir(parents=True)
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        path = folder / "p" / f"{number:05d}.parquet"
        if number >= DIFFERENT_FILES and not has_truth:
            os.link(folder / "p" / f"{number % DIFFERENT_FILES:05d}.parquet", path)
            continue
        table = predicted(first, min(FILE_ROWS, rows - first))
        if has_truth:
            order = pa.array(np.random.default_rng(number).permutation(len(table)))
            truth = table.select(["image_id", "truth"]).rename_columns(["image_id", "label"]).take(order)
            pq.write_table(truth, folder / "t" / f"{10**5 - number:05d}.parquet", row_group_size=1 << 16)
            table = table.drop_columns(["truth"])
        pq.write_table(table, path, row_group_size=1 << 16)


def predicted(first: int, rows: int) -> pa.Table:
    """Rows of random predictions, of which about half are right, from row `first` on."""
    random = np.random.default_rng(first)
    truth = random.integers(0, len(LABELS), rows)
    logits = random.normal(0, 1, (rows, len(LABELS)))
    logits[np.arange(rows), truth] += 1.5
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    order = np.argsort(-scores, axis=1)[:, :LISTED]
    listed = np.take_along_axis(scores, order, axis=1).astype(np.float32)
    offsets = np.arange(0, rows * LISTED + 1, LISTED, dtype=np.int32)
    names = pa.array(LABELS)
    return pa.table(
        {
            "image_id": [f"pictures/{row:012d}.jpg" for row in range(first, first + rows)],
            "error_code": pa.nulls(rows, pa.string()),
            "label": names.take(pa.array(order[:, 0])),
            "score": listed[:, 0],
            "top_labels": pa.ListArray.from_arrays(offsets, names.take(pa.array(order.ravel()))),
            "top_scores": pa.ListArray.from_arrays(offsets, pa.array(listed.ravel())),
            "truth": names.take(pa.array(truth)),
        }
    )


def make_boxes(folder: Path, rows: int) -> None:
    """`rows` images in `p`, of 80 classes, with six boxes each that are nearly right, and their truth."""
    (folder / "p").mkdir(parents=True)
    for number, first in enumerate(range(0, rows, BOXES_ROWS)):
        path = folder / "p" / f"{number:05d}.parquet"
        if number >= DIFFERENT_FILES:
            os.link(folder / "p" / f"{number % DIFFERENT_FILES:05d}.parquet", path)
        else:
            pq.write_table(boxes(number, min(BOXES_ROWS, rows - first)), path, row_group_size=1 << 14)


def boxes(seed: int, rows: int) -> pa.Table:
    """Boxes of random places and sizes, moved by some pixels, and where they truly are."""
    random = np.random.default_rng(seed)
    count = rows * BOXES
    low, size = random.uniform(0, 500, (count, 2)), random.lognormal(4, 1, (count, 2))
    label = pa.array([f"class {index}" for index in range(80)]).take(pa.array(random.integers(0, 80, count)))
    true = np.concatenate([low, low + size], axis=1)
    found = true + random.normal(0, 4, true.shape)
    score = pa.array(random.random(count, np.float32))
    offsets = np.arange(0, count + 1, BOXES, dtype=np.int32)
    columns = {}
    for name, edges, others in (("boxes", found, {"score": score}), ("truth", true, {})):
        numbers = dict(zip(("x_min", "y_min", "x_max", "y_max"), edges.astype(np.float32).T, strict=True))
        fields = {"label": label, **others} | {edge: pa.array(values) for edge, values in numbers.items()}
        structs = pa.StructArray.from_arrays(list(fields.values()), list(fields))
        columns[name] = pa.ListArray.from_arrays(offsets, structs)
    ids = [f"pictures/{seed:05d}-{row:06d}.jpg" for row in range(rows)]
    return pa.table({"image_id": ids, "error_code": pa.nulls(rows, pa.string()), **columns})


def cost(folder: Path, *, has_truth: bool, bootstrap: int = 0) -> Cost:
    """Of what `make_rows` has made."""
    truth = ["--truth", str(folder / "t")] if has_truth else []
    command = [
        sys.executable,
        "-m",
        "vision_batch",
        "evaluate",
        str(folder / "p"),
        "--bootstrap",
        str(bootstrap),
        "--json",
    ]
    ran = run([*command, *truth])
    return Cost(seconds=ran.seconds, mib=ran.driver_mib, images=json.loads(ran.output.splitlines()[-1])["images"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--truth", action="store_true")
    parser.add_argument("--boxes", action="store_true")
    parser.add_argument("--bootstrap", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        if arguments.boxes:
            make_boxes(folder, arguments.rows)
        else:
            make_rows(folder, arguments.rows, has_truth=arguments.truth)
        found = cost(folder, has_truth=arguments.truth, bootstrap=arguments.bootstrap)
        print(f"{found.images:,} images in {found.seconds:.1f} s, {found.mib:,.0f} MiB")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
