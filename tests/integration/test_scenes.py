"""Segmentation from scenes with masks to a model, and from the model to masks: two workers on real Ray."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.typing import NDArray

from vision_batch.jobs.demo.scenes import SCENES_PER_TAR, TEST_TARS, TRAIN_TARS, write_scenes
from vision_batch.jobs.predict import run_predict
from vision_batch.jobs.spec import load_spec
from vision_batch.jobs.train import run_train

pytestmark = [pytest.mark.ray, pytest.mark.slow]

JOBS = Path(__file__).parents[2] / "jobs"
WANTED_IOU = 0.80
LONGEST_S = 240
TWO_WORKERS = ("compute.workers=2", "compute.gpus_per_worker=0")


def test_a_network_learns_which_pixels_are_a_digits(tmp_path: Path, ray_address: str) -> None:
    for name in ("scenes-train.yaml", "scenes_model.py"):
        shutil.copy(JOBS / name, tmp_path)
    write_scenes(tmp_path / "scenes")
    spec = load_spec(tmp_path / "scenes-train.yaml", TWO_WORKERS)
    trained = run_train(spec, address=ray_address)
    assert (trained.status, trained.images_failed, trained.workers) == ("done", 0, 2)
    assert trained.images_ok == (TRAIN_TARS + TEST_TARS) * SCENES_PER_TAR
    assert trained.metrics["mean_iou"] >= WANTED_IOU
    assert trained.seconds < LONGEST_S

    (tmp_path / "masks.yaml").write_text(yaml.safe_dump(predict_settings()))
    predicted = run_predict(load_spec(tmp_path / "masks.yaml", ["compute.gpus_per_predictor=0"]), address=ray_address)
    assert (predicted.status, predicted.images_ok) == ("done", TEST_TARS * SCENES_PER_TAR)
    table = pa.concat_tables(pq.read_table(part) for part in (tmp_path / "masks").glob("*.parquet"))
    assert mean_iou(table) >= WANTED_IOU
    assert {each["label"] for row in table["class_pixels"].to_pylist() for each in row} == {"background", "digit"}


def predict_settings() -> dict[str, Any]:
    """All else comes from the trained model."""
    return {
        "job": "predict",
        "input": {"uri": "scenes/test-*.tar", "label_column": "mask.png"},
        "model": {"source": "trained:scenes-model"},
        "output": {"uri": "masks"},
    }


def mean_iou(table: pa.Table) -> float:
    """Of the two classes, over all pixels of the pictures in their own sizes."""
    confusion = np.zeros(4)
    for row in table.to_pylist():
        mask, truth = unpacked(row["mask_png"]), unpacked(row["truth"])
        assert mask.shape == truth.shape == (row["height"], row["width"])
        confusion += np.bincount((2 * truth.astype(np.int64) + mask).ravel(), minlength=4)
    (of_0, as_1), (as_0, of_1) = confusion.reshape(2, 2)
    return float(np.mean([of_0 / (of_0 + as_0 + as_1), of_1 / (of_1 + as_0 + as_1)]))


def unpacked(data: bytes) -> NDArray[Any]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
