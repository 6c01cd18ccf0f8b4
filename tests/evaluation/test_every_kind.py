"""Every kind of prediction goes all the way from Parquet to values with intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.evaluation.evaluate import evaluate
from vision_batch.evaluation.evaluation import Evaluation
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.ledger.predictions import Predictions

CAT = {"label": "cat", "x_min": 0.0, "y_min": 0.0, "x_max": 40.0, "y_max": 50.0}
DOG = {"label": "dog", "x_min": 30.0, "y_min": 30.0, "x_max": 200.0, "y_max": 250.0}


def evaluated(folder: Path, column: str, values: list[Any], kind: pa.DataType, **settings: Any) -> Evaluation:
    table = pa.table({"image_id": [f"a/{number}.jpg" for number in range(len(values))], column: pa.array(values, kind)})
    site = pa.array([f"{number % 2}" for number in range(len(values))])
    pq.write_table(table.append_column("input_site", site), folder / "p.parquet")
    truth = TruthSettings(uri=str(folder / settings.pop("truth")))
    chosen = EvaluateSettings(**{"bootstrap": 20, "by": ["input_site"], **settings})
    return evaluate(Predictions.open(str(folder / "p.parquet")), truth, chosen)


def assert_measured(evaluation: Evaluation, headline: str, value: float) -> None:
    first = evaluation.results[0]
    assert (first.metric, first.value) == (headline, value)
    assert first.low is not None
    assert first.high is not None
    assert first.low <= value <= first.high
    assert {result.slice for result in evaluation.results} == {None, "input_site=0", "input_site=1"}


def test_boxes_by_coco(tmp_path: Path) -> None:
    number = [(name, pa.float32()) for name in ("score", "x_min", "y_min", "x_max", "y_max")]
    boxes = [[CAT | {"score": 0.9}], [DOG | {"score": 0.5}], None] * 20
    content = {
        "images": [{"id": image, "file_name": f"{image}.jpg"} for image in range(60)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {
                "image_id": image,
                "category_id": image % 3 % 2,
                "bbox": [[0, 0, 40, 50], [30, 30, 170, 220]][image % 3 % 2],
            }
            for image in range(60)
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    kind = pa.list_(pa.struct([("label", pa.string()), *number]))
    evaluation = evaluated(tmp_path, "boxes", boxes, kind, truth="truth.json")
    assert (evaluation.images, evaluation.images_failed) == (60, 20)
    assert_measured(evaluation, "ap", (51 / 101 + 1) / 2)
    assert [curve.label for curve in evaluation.curves] == [None, "cat", "dog"]


def test_masks_by_a_folder_of_masks(tmp_path: Path) -> None:
    masks = [np.full((4, 4), number % 3, np.uint8) for number in range(30)]
    (tmp_path / "masks" / "a").mkdir(parents=True)
    for number, mask in enumerate(masks):
        cv2.imwrite(str(tmp_path / "masks" / "a" / f"{number}.png"), np.minimum(mask, 1))
    pngs = [bytes(cv2.imencode(".png", mask)[1]) for mask in masks]
    evaluation = evaluated(tmp_path, "mask_png", pngs, pa.binary(), truth="masks")
    assert_measured(evaluation, "mean_iou", 0.5)
    assert evaluation.metrics["pixel_accuracy"] == 2 / 3


def test_embeddings_by_folders_of_classes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    vectors = [*(random.normal(size=(40, 3)) * 0.1 + np.repeat([[1, 0, 0], [0, 1, 0]], 20, axis=0)).tolist(), None]
    for number in range(41):
        folder = tmp_path / "truth" / ("ant" if number < 20 else "bee")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").touch()
    evaluation = evaluated(tmp_path, "embedding", vectors, pa.list_(pa.float32()), truth="truth", k=[1, 3])
    assert (evaluation.images, evaluation.images_failed) == (41, 1)
    assert_measured(evaluation, "knn_1_accuracy", 40 / 41)
