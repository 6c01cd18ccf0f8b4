"""The page of a training tells what its runs have written."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.report.outputs import write_record
from tests.report.test_report import shows
from vision_batch.ledger.definition import KIND, Definition, claim_definition
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.report.report import render_report
from vision_batch.storage.table import storage_for

COUNTS: Mapping[str, Any] = {
    "metrics": {"accuracy": 0.875, "loss": 0.25},
    "epochs": 3,
    "epochs_total": 4,
    "images_ok": 97,
    "images_failed": 3,
    "images_total": 100,
    "failures": {"truncated": 3},
    "workers": 2,
    "images_per_second": 55.5,
    "waited": 0.125,
}


def training(folder: Path, counts: Mapping[str, Any]) -> LedgerPaths:
    paths = LedgerPaths(str(folder / "model"))
    definition = Definition({KIND: "train", "model.source": "python:a:b"})
    claim_definition(paths, definition)
    write_record(paths, definition, counts, name="learn")
    return paths


def put(paths: LedgerPaths, run: str, name: str, rows: list[dict[str, Any]]) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    uri = f"{paths.metrics(run)}/{name}.parquet"
    storage_for(uri).put(uri, sink.getvalue())


def epoch(number: int, loss: float, accuracy: float | None) -> dict[str, Any]:
    return {"epoch": number, "train_loss": loss, "validation_accuracy": accuracy, "validation_loss": None}


def test_it_has_what_was_measured_and_how_it_was_learned(tmp_path: Path) -> None:
    paths = training(tmp_path, COUNTS)
    put(paths, "20250101-a", "epochs-000000", [epoch(1, 2.5, None), epoch(2, 9.0, 0.5)])
    put(paths, "20250102-b", "epochs-000000", [epoch(2, 1.5, 0.75), epoch(3, 1.25, 0.875)])
    put(paths, "20250102-b", "steps-000000", [{"step": n, "learning_rate": 0.5 - n / 10} for n in range(3)])
    broken = [{"image_id": "<b>.jpg", "error_code": "truncated", "error": "too short"}]
    put(paths, "20250102-b", "broken-000000", broken)
    page = render_report(paths.output)
    for number in (0.875, 0.25, 3, 97, 0.03, 55.5, 0.125):
        assert shows(page, number), number
    assert "Loss by epoch: training ends at 1.25." in page
    assert "Validation by epoch: accuracy ends at 0.875." in page
    assert "The learning rate by step; the highest is 0.5." in page
    assert "&lt;b&gt;.jpg" in page


def test_folds_have_their_own_curves(tmp_path: Path) -> None:
    folds = [{"accuracy": 0.75}, {"accuracy": 1.0}]
    paths = training(tmp_path, {"metrics": {"accuracy": 0.875}, "folds": folds, "deviations": {"accuracy": 0.125}})
    for fold in range(2):
        put(paths, "20250101-a", f"fold-{fold}/epochs-000000", [epoch(1, 2.5, 0.5)])
    page = render_report(paths.output)
    for number in (0.875, 0.125, 0.75, 1.0):
        assert shows(page, number), number
    assert "Loss, fold 0" in page
    assert "Loss, fold 1" in page


def test_one_that_has_not_come_far_has_a_page_too(tmp_path: Path) -> None:
    assert "learn" in render_report(training(tmp_path, {}).output)
