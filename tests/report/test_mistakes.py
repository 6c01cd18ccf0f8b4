"""The worst mistakes are those that a person would call so, by either kind of truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.report.outputs import BOX, CLASSIFICATION, DETECTION, MULTI_LABEL, SEGMENTATION, make_output
from vision_batch.errors import SpecError
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.ledger.predictions import Predictions
from vision_batch.report import mistakes
from vision_batch.report.mistakes import worst_rows
from vision_batch.report.report import render_report
from vision_batch.report.verdict import judged

SETTINGS = EvaluateSettings(bootstrap=0)


def worst(output: str, truth: Path | None = None) -> list[str]:
    settings = None if truth is None else TruthSettings(uri=str(truth))
    return [row["image_id"] for row in worst_rows(Predictions.open(output), settings, SETTINGS)]


def table(folder: Path, **columns: pa.Array | list[object]) -> Path:
    path = folder / "truth.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def labelled(folder: Path, **options: object) -> str:
    rows = {
        f"{n:02d}.jpg": {"label": "odd" if n % 2 else "even", "label_index": n % 2, "score": n / 50} for n in range(40)
    }
    return make_output(folder, CLASSIFICATION, rows, broken={"x.jpg": ("empty", "no bytes")}, **options)  # type: ignore[arg-type]


def test_wrong_labels_by_their_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistakes, "MOST", 5)
    output = labelled(tmp_path, truth={f"{n:02d}.jpg": "odd" for n in range(30)} | {"x.jpg": "odd"})
    assert worst(output) == ["28.jpg", "26.jpg", "24.jpg", "22.jpg", "20.jpg"]
    names = [f"{n:02d}.jpg" for n in range(10)]
    assert worst(output, table(tmp_path, image_id=names, label=["even"] * 10)) == [
        "09.jpg",
        "07.jpg",
        "05.jpg",
        "03.jpg",
        "01.jpg",
    ]


def test_labels_too_many_by_their_scores(tmp_path: Path) -> None:
    rows = {
        "a.jpg": {"labels": ["x", "y"], "label_scores": [0.9, 0.6]},
        "b.jpg": {"labels": ["y"], "label_scores": [0.8]},
        "c.jpg": {"labels": [], "label_scores": []},
        "d.jpg": {"labels": ["x"], "label_scores": [0.95]},
    }
    output = make_output(tmp_path, MULTI_LABEL, rows, broken={"e.jpg": ("empty", "no bytes")})
    truth = table(tmp_path, image_id=list(rows), labels=[["x"], ["x"], ["y"], ["x"]])
    assert worst(output, truth) == ["b.jpg", "a.jpg"]
    page = render_report(output, truth=TruthSettings(uri=str(truth)))
    mistakes = page[page.index('<section id="mistakes"') : page.index('<section id="predictions"')]
    assert mistakes.count("truth: <b><bdi>x</bdi></b>") == 2


def test_boxes_on_nothing_by_their_scores(tmp_path: Path) -> None:
    def box(score: float, left: float, label: str = "cat") -> dict[str, object]:
        edges = {"x_min": left, "y_min": 0.0, "x_max": left + 20, "y_max": 20.0}
        return {"label": label, "label_index": 0, "score": score, **edges}

    found = {
        "good.jpg": [box(0.99, 0.0)],
        "off.jpg": [box(0.95, 50.0)],
        "other.jpg": [box(0.97, 0.0, "dog")],
        "empty.jpg": [],
        "twice.jpg": [box(0.9, 0.0), box(0.5, 1.0)],
    }
    output = make_output(tmp_path, DETECTION, {name: {"boxes": boxes} for name, boxes in found.items()})
    truth = pa.array([[box(1.0, 0.0)]] * len(found), pa.list_(BOX))
    assert worst(output, table(tmp_path, image_id=list(found), boxes=truth)) == ["other.jpg", "off.jpg", "twice.jpg"]


def test_masks_by_their_share_of_wrong_pixels(tmp_path: Path) -> None:
    def png(columns: int) -> bytes:
        mask = np.zeros((90, 120), np.uint8)
        mask[:, :columns] = 1
        return bytes(cv2.imencode(".png", mask)[1])

    rows = {f"{n}.jpg": {"mask_png": png(60 + 10 * n), "class_pixels": []} for n in range(4)}
    output = make_output(tmp_path, SEGMENTATION, rows)
    truth = table(tmp_path, image_id=list(rows), mask_png=pa.array([png(60)] * 4, pa.binary()))
    assert worst(output, truth) == ["3.jpg", "2.jpg", "1.jpg"]


def test_a_truth_of_ones_own_that_says_nothing_is_a_reason_and_another_one_an_error(tmp_path: Path) -> None:
    output = Predictions.open(labelled(tmp_path, truth={"unknown.jpg": "odd"}))
    verdict = judged(output, None)
    assert verdict.evaluation is None
    assert "no truth for any" in (verdict.reason or "")
    with pytest.raises(SpecError):
        judged(output, TruthSettings(uri=str(tmp_path / "nothing.parquet")))
    assert judged(Predictions.open(labelled(tmp_path / "b")), None).reason is None
