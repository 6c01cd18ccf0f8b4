"""What decides the weights of a training, and what does not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.models.trained_outputs import write_trained
from vision_batch.errors import SpecError
from vision_batch.jobs.prepare_train import PreparedTraining, prepare_training
from vision_batch.jobs.spec import load_spec

TEXT = """
job: train
input: {uri: images/, label_column: folder}
validation: {fraction: 0.5}
model: {source: "python:net:build"}
task: {type: classification}
preprocess: {resize_px: [8, 8]}
augment: [horizontal_flip]
train: {epochs: 2}
output: {uri: model/}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        cv2.imwrite(f"{tmp_path}/images/{label}/0.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "net.py").write_text("def build():\n    raise AssertionError('nothing is loaded')\n")
    (tmp_path / "train.yaml").write_text(TEXT)
    return tmp_path / "train.yaml"


def prepared(spec: Path, *overrides: str) -> PreparedTraining:
    return prepare_training(load_spec(spec, overrides))


def test_what_does_not_go_with_the_task_of_the_model_is_refused(spec: Path) -> None:
    task = {"type": "classification", "multi_label": True, "score_threshold": 0.3}
    write_trained(str(spec.parent / "out"), spec.parent, task=task)
    model = [f"model={{source: 'trained:{spec.parent}/out'}}", "task=null", "preprocess=null"]
    with pytest.raises(SpecError, match=r"train.sampling: found sqrt, for multi-label"):
        prepared(spec, *model, "train.sampling=sqrt")


def test_a_detector_of_transformers_does_not_learn_from_borders_that_it_is_not_served(spec: Path) -> None:
    folder = spec.parent / "detr"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["DetrForObjectDetection"], "id2label": {"0": "cat"}}')
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "DetrImageProcessor"}')
    (folder / "model.safetensors").write_bytes(b"not looked into")
    pq.write_table(pa.table({"image": [b""], "boxes": ["[]"]}), spec.parent / "boxes.parquet")
    data = f"input={{uri: {spec.parent}/boxes.parquet, label_column: boxes}}"
    detector = [data, f"model={{source: 'transformers:{folder}'}}", "task={type: detection}"]
    with pytest.raises(SpecError, match=r"preprocess\.longest_px: found 1333, of .*; expected steps that give all"):
        prepared(spec, *detector, "preprocess=null")
    assert prepared(spec, *detector, "preprocess={letterbox_px: 640}").parts.model.labels == ("cat",)


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=3",
        "train.seed=1",
        "train.optimizer={name: sgd}",
        "train.batch_size=16",
        "augment=[]",
        "validation.fraction=0.4",
        "preprocess.resize_px=[9, 8]",
        "model.options={a: 1}",
        "compute.precision=bf16",
        "limits.max_pixels=99",
    ],
)
def test_what_decides_the_weights_is_in_the_definition(spec: Path, override: str) -> None:
    assert prepared(spec, override).definition != prepared(spec).definition


@pytest.mark.parametrize(
    "override",
    [
        "compute.workers=2",
        "compute.layout=split",
        "train.checkpoint={every_steps: 5}",
        "train.on_nan=skip",
        "limits.max_error_fraction=0.5",
        "name=another",
    ],
)
def test_what_does_not_may_differ(spec: Path, override: str) -> None:
    assert prepared(spec, override).definition == prepared(spec).definition


def test_validation_images_of_their_own_decide_too(spec: Path) -> None:
    found = prepared(spec, f"validation={{uri: {spec.parent}/images/cat}}")
    assert found.definition != prepared(spec).definition
    assert found.validation_input is not None
    assert found.validation_input.format == "folder"
    with pytest.raises(SpecError, match=r"validation\.uri: found .*/images/cow"):
        prepared(spec, f"validation={{uri: {spec.parent}/images/cow}}")


def test_the_code_of_the_model_decides_too(spec: Path) -> None:
    before = prepared(spec).definition
    (spec.parent / "net.py").write_text("def build():\n    raise AssertionError\n")
    assert prepared(spec).definition != before


def test_a_fold_has_an_output_and_a_definition_of_its_own(spec: Path) -> None:
    whole = prepared(spec, "validation={folds: 3}")
    folds = [whole.of_fold(fold) for fold in range(3)]
    assert [fold.paths.output for fold in folds] == [f"{spec.parent}/model/folds/{number}" for number in range(3)]
    assert len({fold.definition.digest for fold in (whole, *folds)}) == 4
    assert {fold.data for fold in folds} == {whole.paths}
