"""What an evaluation writes: tables, pictures and a summary, on disk and on S3."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.evaluation.classified import classified
from tests.export.predicted import CLASSIFIED, pictures, predicted
from vision_batch.errors import SpecError
from vision_batch.evaluation.evaluate import evaluate
from vision_batch.evaluation.evaluation import Evaluation
from vision_batch.evaluation.measure import ConfusionCell
from vision_batch.evaluation.pictures import draw_confusion, draw_curves
from vision_batch.evaluation.results import METRICS, demand_apart, results_folder, write_results
from vision_batch.evaluation.settings import EvaluateSettings
from vision_batch.ledger.predictions import Predictions
from vision_batch.storage.table import storage_for


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    rows = classified(200, 3, failed=0.1).rows().append_column("site", pa.array(["a", "b"] * 100))
    pq.write_table(rows, tmp_path / "p.parquet")
    return evaluate(Predictions.open(str(tmp_path / "p.parquet")), None, EvaluateSettings(by=["site"], bootstrap=20))


def test_the_table_has_a_row_for_each_metric_class_and_slice(evaluation: Evaluation, tmp_path: Path) -> None:
    write_results(evaluation, str(tmp_path / "to"))
    table = pq.read_table(tmp_path / "to" / "metrics.parquet")
    assert table.schema == METRICS
    rows = table.to_pylist()
    assert len(rows) == len(evaluation.results)
    for row, result in zip(rows, evaluation.results, strict=True):
        assert tuple(row.values()) == (
            result.metric,
            result.label,
            result.slice,
            result.value,
            result.low,
            result.high,
            result.support,
        )


def test_the_summary_says_what_the_table_says(evaluation: Evaluation, tmp_path: Path) -> None:
    write_results(evaluation, str(tmp_path / "to"))
    summary = json.loads((tmp_path / "to" / "metrics.json").read_bytes())
    assert summary["metrics"] == evaluation.metrics
    assert (summary["images"], summary["images_failed"]) == (200, evaluation.images_failed)
    assert len(summary["results"]) == len(evaluation.results)


def test_confusion_and_curves_are_tables_and_pictures(evaluation: Evaluation, tmp_path: Path) -> None:
    write_results(evaluation, str(tmp_path / "to"))
    confusion = pq.read_table(tmp_path / "to" / "confusion.parquet")
    assert sum(confusion["count"].to_pylist()) == 200
    curves = pq.read_table(tmp_path / "to" / "curves.parquet")
    assert set(curves["curve"].to_pylist()) == {"roc", "precision_recall", "calibration"}
    assert len(curves) == sum(len(curve.x) for curve in evaluation.curves)
    for name in ("confusion.png", "curves.png"):
        picture = cv2.imread(str(tmp_path / "to" / name))
        assert picture.std() > 10


def test_an_earlier_evaluation_is_replaced(evaluation: Evaluation, tmp_path: Path) -> None:
    write_results(evaluation, str(tmp_path / "to"))
    bare = Evaluation(
        kind="embedding",
        predictions="p",
        truth=None,
        images=0,
        images_failed=0,
        images_without_truth=0,
        truths_without_image=0,
        results=(),
        confusion=(),
        curves=(),
        notes=(),
    )
    write_results(bare, str(tmp_path / "to"))
    assert {file.name for file in (tmp_path / "to").iterdir()} == {
        "metrics.parquet",
        "metrics.json",
        "confusion.parquet",
        "curves.parquet",
    }
    assert len(pq.read_table(tmp_path / "to" / "metrics.parquet")) == 0


def test_foreign_labels_are_drawn_as_they_are_and_many_classes_are_cut(evaluation: Evaluation) -> None:
    hostile = ["$\\frac{1}{0}$", "$_$", "类别", "x" * 500, "<b>", "a\nb", ""]
    cells = [ConfusionCell(truth=one, predicted=other, count=3) for one in hostile for other in (*hostile, None)]
    picture = draw_confusion(cells)
    assert picture is not None
    many = [ConfusionCell(truth=f"c{n}", predicted=f"c{n + 1}", count=n + 1) for n in range(500)]
    largest = draw_confusion(many)
    assert largest is not None
    assert max(cv2.imdecode(np.frombuffer(largest, np.uint8), cv2.IMREAD_COLOR).shape) < 2000
    assert draw_confusion([]) is None
    assert draw_curves([]) is None


def test_results_go_beside_the_predictions_and_never_among_them() -> None:
    assert results_folder("/data/out", None) == "/data/out-evaluation"
    assert results_folder("/data/out", "/elsewhere") == "/elsewhere"
    with pytest.raises(SpecError, match="not in the predictions"):
        results_folder("/data/out", "/data/out/evaluation")
    with pytest.raises(SpecError, match="a folder for the results"):
        results_folder("/data/*.parquet", None)


@pytest.mark.s3
def test_results_among_the_images_are_refused(tmp_path: Path) -> None:
    rows = {"label": "cat", "label_index": 0, "score": 0.5, "top_labels": [], "top_scores": []}
    output = predicted(tmp_path, pictures(tmp_path / "in", "a.png"), CLASSIFIED, lambda name: rows)
    predictions = Predictions.open(output)
    demand_apart(predictions, str(tmp_path / "in-evaluation"))
    with pytest.raises(SpecError, match=r"--to: found .*, inside the input"):
        demand_apart(predictions, str(tmp_path / "in" / "evaluation"))


def test_predictions_truth_and_results_may_be_on_s3(evaluation: Evaluation, tmp_path: Path, rgw_s3: S3Bucket) -> None:
    storage = storage_for(rgw_s3.uri)
    rows = pq.read_table(tmp_path / "p.parquet")
    for name in ("out/1", "out/2"):
        some = rows.slice(0, 120) if name == "out/1" else rows.slice(120)
        pq.write_table(some, tmp_path / "some.parquet")
        storage.put(f"{rgw_s3.uri}/{name}.parquet", (tmp_path / "some.parquet").read_bytes())
    found = evaluate(Predictions.open(f"{rgw_s3.uri}/out"), None, EvaluateSettings(by=["site"], bootstrap=20))
    assert found.metrics == pytest.approx(evaluation.metrics)
    to = results_folder(found.predictions, None)
    write_results(found, to)
    assert json.loads(storage.read(f"{rgw_s3.uri}/out-evaluation/metrics.json"))["images"] == 200
