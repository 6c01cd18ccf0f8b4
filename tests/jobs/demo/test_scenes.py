"""Digits on photographs, with exact masks and boxes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.datasets.reading import samples_of, settings_of
from vision_batch.datasets.sample import Sample
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.jobs.demo.scenes import LABELS, scene_tars, write_scenes
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import trainable_task_for


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("scenes") / "new"
    write_scenes(folder, scenes_per_tar=12)
    return samples_of(settings_of(folder, label_column="mask.png", keep_columns=["json"]))


def mask_of(sample: Sample) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(sample.truth, np.uint8), cv2.IMREAD_UNCHANGED))


def test_a_tar_has_so_many_scenes_for_training_and_for_testing(samples: list[Sample]) -> None:
    names = [sample.image_id.partition("/")[0] for sample in samples]
    assert sorted(set(names)) == ["test-00", "test-01", *(f"train-0{k}" for k in range(6))]
    assert all(names.count(name) == 12 for name in names)


def test_the_bytes_are_the_same_every_time_and_more_scenes_change_none(tmp_path: Path) -> None:
    first = dict(scene_tars(scenes_per_tar=2))
    assert first == dict(scene_tars(scenes_per_tar=2))
    write_scenes(tmp_path, scenes_per_tar=3)
    longer = samples_of(settings_of(tmp_path / "train-03.tar", label_column="mask.png"))
    (tmp_path / "train-03.tar").write_bytes(first["train-03.tar"])
    assert samples_of(settings_of(tmp_path / "train-03.tar", label_column="mask.png")) == longer[:2]


def test_masks_are_targets_of_the_images_own_size(samples: list[Sample]) -> None:
    task = trainable_task_for(TaskSettings(type="segmentation"), LABELS)
    preprocess = Preprocessor(PreprocessSettings(resize_px=(8, 8)), max_pixels=10**6)
    for sample in samples:
        assert task.target(sample.truth).annotation is not None
        picture = preprocess(sample.data or b"")
        assert mask_of(sample).shape == (picture.height, picture.width)
    assert {int(value) for sample in samples for value in np.unique(mask_of(sample))} == {0, 1}


def test_boxes_hold_exactly_the_pixels_of_their_digits(samples: list[Sample]) -> None:
    names = set()
    for sample in samples:
        mask = mask_of(sample).copy()
        for box in json.loads(sample.kept[0])["boxes"]:
            names.add(box["label"])
            digit = mask[box["y_min"] : box["y_max"], box["x_min"] : box["x_max"]]
            assert digit[0].any() and digit[-1].any() and digit[:, 0].any() and digit[:, -1].any()  # noqa: PT018
            digit[:] = 0
        assert not mask.any()
    assert names == set("0123456789")
