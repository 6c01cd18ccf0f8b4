"""What an evaluation leaves behind: a folder of tables and pictures."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.evaluation import Evaluation
from vision_batch.evaluation.measure import Curve
from vision_batch.evaluation.pictures import draw_confusion, draw_curves
from vision_batch.ledger.predictions import Predictions
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import is_glob, is_inside, join

METRICS: Final = pa.schema(
    [
        ("metric", pa.string()),
        ("class", pa.string()),
        ("slice", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("support", pa.int64()),
    ]
)
CONFUSION: Final = pa.schema([("truth", pa.string()), ("predicted", pa.string()), ("count", pa.int64())])
CURVES: Final = pa.schema(
    [
        ("curve", pa.string()),
        ("class", pa.string()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("threshold", pa.float64()),
    ]
)
SUMMARY: Final = "metrics.json"


def results_folder(predictions: str, to: str | None) -> str:
    """Where the results go, beside the predictions by default; SpecError where readers would take them for such."""
    if to is None and is_glob(predictions):
        raise SpecError(Problem("--to", f"nothing, and a glob, {predictions}", "a folder for the results"))
    folder = to or f"{predictions.rstrip('/')}-evaluation"
    if is_inside(folder, predictions):
        expected = "a folder that is not in the predictions': whoever reads them would read the results too"
        raise SpecError(Problem("--to", folder, expected))
    return folder


def demand_apart(predictions: Predictions, to: str) -> None:
    """SpecError for a folder among the images: the next run would take the pictures of this evaluation for images."""
    for uri in predictions.inputs:
        if is_inside(to, uri):
            raise SpecError(Problem("--to", f"{to}, inside the input {uri}", "a folder apart from it"))


def write_results(evaluation: Evaluation, to: str) -> None:
    """Writes the files into the folder `to`, each whole or not at all, `metrics.json` last.

    What an earlier evaluation has left there is replaced.
    """
    storage = storage_for(to)
    pictures = {"confusion.png": draw_confusion(evaluation.confusion), "curves.png": draw_curves(evaluation.curves)}
    tables = {
        "metrics.parquet": metrics_table(evaluation),
        "confusion.parquet": confusion_table(evaluation),
        "curves.parquet": curves_table(evaluation),
    }
    storage.delete(join(to, SUMMARY))
    for name, picture in pictures.items():
        if picture is None:
            storage.delete(join(to, name))
        else:
            storage.put(join(to, name), picture)
    for name, table in tables.items():
        storage.put(join(to, name), _parquet(table))
    summary = evaluation.as_dict() | {"results": [asdict(result) for result in evaluation.results]}
    storage.put(join(to, SUMMARY), json.dumps(summary, indent=1).encode())


def metrics_table(evaluation: Evaluation) -> pa.Table:
    """A row for each metric, class and slice."""
    rows = [{**asdict(result), "class": result.label} for result in evaluation.results]
    return pa.Table.from_pylist(rows, schema=METRICS)


def confusion_table(evaluation: Evaluation) -> pa.Table:
    """A row for each pair of classes that occurs, the most frequent first."""
    return pa.Table.from_pylist([asdict(cell) for cell in evaluation.confusion], schema=CONFUSION)


def curves_table(evaluation: Evaluation) -> pa.Table:
    """A row for each point."""
    return pa.Table.from_batches(map(_points, evaluation.curves), schema=CURVES)


def _points(curve: Curve) -> pa.RecordBatch:
    count = len(curve.x)
    names = [pa.array([name] * count, pa.string()) for name in (curve.kind, curve.label)]
    return pa.record_batch([*names, curve.x, curve.y, curve.thresholds.astype(np.float64)], schema=CURVES)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
