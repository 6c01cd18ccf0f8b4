"""What must agree between the parts of a train spec, and where its URIs lead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.consistency import inconsistencies
from vision_batch.jobs.settings import PredictSettings, TrainJobSettings
from vision_batch.jobs.spec import load_spec, spec_of_kind

SPEC: dict[str, Any] = {
    "job": "train",
    "input": {"uri": "/data/images", "label_column": "folder"},
    "validation": {"fraction": 0.2},
    "model": {"source": "python:m:build"},
    "task": {"type": "classification"},
    "preprocess": {"resize_px": [64, 64]},
    "train": {"epochs": 2},
    "output": {"uri": "/data/model"},
}

TEXT = """
job: train
input: {uri: images/, label_column: folder}
validation: {uri: [held-out/, {name: more, uri: "s3://b/{date}/"}], masks: theirs/}
model: {source: "python:m:build"}
task: {type: classification}
preprocess: {resize_px: [64, 64]}
train: {epochs: 2}
output: {uri: model/}
"""


def problems(**changes: object) -> list[Problem]:
    return inconsistencies(TrainJobSettings.model_validate(SPEC | changes))


def test_a_good_spec_agrees() -> None:
    assert problems() == []


def test_there_is_something_to_learn() -> None:
    (found,) = problems(input={"uri": "/data/images"})
    assert found.where == "input.label_column"


def test_masks_are_for_segmentation_boxes_for_detection_and_folders_for_all_else() -> None:
    segmentation, detection = {"type": "segmentation"}, {"type": "detection"}
    masks = {"uri": "/data/images", "masks": "/data/masks"}
    assert problems(task=segmentation, input=masks) == []
    (found,) = problems(task=segmentation)
    assert (found.where, found.found) == ("input.label_column", "'folder' with task: {type: segmentation}")
    assert problems(task=detection, input={"uri": "/data/images", "label_column": "json"}) == []
    (found,) = problems(task=detection)
    assert (found.where, found.found) == ("input.label_column", "'folder' with task: {type: detection}")
    (found,) = problems(input=masks)
    assert (found.where, found.found) == ("input.masks", "/data/masks with task: {type: classification}")


@pytest.mark.parametrize("uri", ["/data/model", "/data/model/held-out", "/data"])
def test_the_output_stays_apart_from_the_validation_images_too(uri: str) -> None:
    found = problems(validation={"uri": uri})
    assert [problem.where for problem in found] == ["output.uri"]
    assert "validation.uri" in found[0].found


def test_what_is_learned_is_not_measured_on(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    images = {"uri": f"{tmp_path}/images", "label_column": "folder"}
    (found,) = problems(input=images, validation={"uri": f"{tmp_path}/link"})
    assert found.where == "validation.uri"


def test_two_validation_inputs_have_two_names() -> None:
    uri = [{"name": "a", "uri": "/x"}, {"name": "a", "uri": "/y"}]
    (found,) = problems(validation={"uri": uri})
    assert found.where == "validation.uri"


def test_what_is_learned_has_one_size() -> None:
    (found,) = problems(preprocess={"function": "m:prepare"})
    assert (found.where, found.found) == ("preprocess", "a function and no size")
    (found,) = problems(preprocess={"resize_shorter_px": 64})
    assert found.where == "preprocess"


def test_stopping_early_needs_something_to_see() -> None:
    (found,) = problems(validation=None, train={"epochs": 2, "early_stopping": {}})
    assert found.where == "train.early_stopping"
    assert problems(train={"epochs": 2, "early_stopping": {}}) == []


def test_validation_images_are_mapped_as_the_inputs() -> None:
    settings = TrainJobSettings.model_validate(SPEC | {"validation": {"uri": "/held-out"}})
    assert settings.validation_input == settings.input.model_copy(update={"uri": "/held-out"})
    assert TrainJobSettings.model_validate(SPEC).validation_input is None


def test_validation_images_have_the_inputs_masks_or_their_own() -> None:
    images = {"input": {"uri": "/data", "masks": "/masks"}}
    for own, masks in ({}, "/masks"), ({"masks": "/theirs"}, "/theirs"):
        settings = TrainJobSettings.model_validate(SPEC | images | {"validation": {"uri": "/held-out", **own}})
        assert settings.validation_input is not None
        assert settings.validation_input.masks == masks
    with pytest.raises(ValueError, match=r"masks only with uri"):
        TrainJobSettings.model_validate(SPEC | images | {"validation": {"fraction": 0.2, "masks": "/theirs"}})


def test_uris_of_validation_are_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(TEXT)
    spec = spec_of_kind(load_spec(tmp_path / "spec.yaml"), TrainJobSettings)
    assert spec.settings.validation is not None
    first, second = spec.settings.validation.uri or ()
    assert first == f"{tmp_path}/held-out"
    assert spec.settings.validation.masks == f"{tmp_path}/theirs"
    assert second.uri.startswith("s3://b/2")  # type: ignore[union-attr]
    with pytest.raises(SpecError, match="job: found train; expected predict"):
        spec_of_kind(spec, PredictSettings)
