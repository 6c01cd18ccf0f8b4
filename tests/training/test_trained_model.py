"""From a training's weights to the files that a predict job takes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import S3Bucket
from tests.models.trained_outputs import NO_DIGEST, PLUGIN, module
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import HeldError, ModelError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.bundle import resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.models.trained import TrainedModel, read_model
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.event import TrainEvent
from vision_batch.training.job import TrainJob
from vision_batch.training.settings import TrainSettings
from vision_batch.training.trained_model import Outcome, write_model

NORMED = """
import torch

def build():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(4, 3),
    )
"""
UNTRACEABLE = """
import torch

class Branching(torch.nn.Linear):
    def forward(self, images):
        pooled = images.mean((2, 3))
        return super().forward(pooled if pooled.sum() > 0 else -pooled)

def build():
    return Branching(3, 3)
"""
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)


def train_job(folder: Path, output: str, plugin: str = PLUGIN, **fields: Any) -> TrainJob:
    (folder / "vb_trained_plugin.py").write_text(plugin)
    settings = ModelSettings(source="python:vb_trained_plugin:build")
    values: dict[str, Any] = {
        "paths": LedgerPaths(output),
        "run_id": "r1",
        "definition": NO_DIGEST,
        "input": InputSettings(uri="/data/images", label_column="cls"),
        "validation": None,
        "validation_input": None,
        "preprocess": PreprocessSettings(resize_px=(8, 8)),
        "augment": (),
        "function": None,
        "model": resolve_model(settings, folder, for_training=True),
        "task": TaskSettings(type="classification"),
        "labels": ("cat", "dog", "owl"),
        "class_images": (1, 1, 1),
        "train": TrainSettings(epochs=2),
        "max_pixels": 10**6,
        "precision": "fp32",
    }
    return TrainJob(**values | fields)


def outcome(weights: torch.nn.Module | None = None, **fields: Any) -> Outcome:
    history = (
        TrainEvent(kind="epoch", epoch=0, step=5, loss=1.0, metrics={"loss": 1.1, "accuracy": 0.75}, is_best=True),
        TrainEvent(kind="epoch", epoch=1, step=10, loss=0.5, metrics={"loss": 1.2, "accuracy": 0.5}),
    )
    values: dict[str, Any] = {
        "weights": (weights or module()).state_dict(),
        "model_step": 5,
        "steps": 10,
        "history": history,
        "catalogue": NO_DIGEST,
        "images": 12,
        "validation_images": 4,
        "pixels": PIXELS,
    }
    return Outcome(**values | fields)


def write(job: TrainJob, result: Outcome) -> tuple[TrainedModel, list[str]]:
    notes: list[str] = []
    return write_model(job, result, demand=lambda: None, note=notes.append), notes


def served(folder: Path, output: str) -> torch.nn.Module:
    return resolve_model(ModelSettings(source=f"trained:{output}"), folder).load()


def test_what_was_trained_is_what_is_served(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    model, notes = write(train_job(tmp_path, output), outcome())
    assert notes == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_file()) == [
        "curves.png",
        "model.pt2",
        "model.safetensors",
        "model.yaml",
    ]
    assert read_model(output) == model
    assert model.metrics == {"loss": 1.1, "accuracy": 0.75}
    assert (model.training.epochs, model.training.steps, model.training.model_step) == (2, 10, 5)
    assert model.data.uris == ["/data/images"]
    for name, digest in model.files.items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    (tmp_path / "vb_trained_plugin.py").unlink()
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(served(tmp_path, output)(images), module()(images))
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["2.weight"], module().state_dict()["2.weight"])


def test_a_class_for_every_pixel(tmp_path: Path) -> None:
    plugin = "import torch\ndef build(): return torch.nn.Conv2d(3, 3, 3, padding=1)\n"
    task = TaskSettings(type="segmentation")
    job = train_job(tmp_path, str(tmp_path / "out"), plugin, task=task)
    trained = job.model.load()
    model, _ = write(job, outcome(trained))
    assert TaskSettings.model_validate(model.task) == task
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(served(tmp_path, str(tmp_path / "out"))(images), trained(images))


def test_batch_norm_and_dropout_are_those_of_serving(tmp_path: Path) -> None:
    job = train_job(tmp_path, str(tmp_path / "out"), NORMED)
    trained = job.model.load()
    trained[1].running_mean.fill_(3.0)  # type: ignore[index]
    trained[1].running_var.fill_(7.0)  # type: ignore[index]
    trained.train()
    write(job, outcome(trained))
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(served(tmp_path, str(tmp_path / "out"))(images), trained.eval()(images))


def test_a_model_that_cannot_be_exported_says_why_and_is_served_from_its_plug_in(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    job = train_job(tmp_path, output, UNTRACEABLE)
    trained = job.model.load()
    model, (note,) = write(job, outcome(trained))
    assert not (tmp_path / "out" / "model.pt2").exists()
    assert model.not_exported is not None
    assert model.not_exported.startswith("torch.export cannot trace it")
    assert note.startswith(f"no model.pt2: {model.not_exported}")
    images = torch.rand(3, 3, 8, 8)
    assert torch.equal(served(tmp_path, output)(images), trained(images))


def test_a_fold_is_not_exported(tmp_path: Path) -> None:
    model, notes = write(train_job(tmp_path, str(tmp_path / "out"), fold=0), outcome())
    assert "model.pt2" not in model.files
    assert model.not_exported == "the model of a fold is there to be measured"
    assert notes == []


def test_weights_of_another_model_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the trained weights do not fit the model: missing: 2\.weight"):
        write(train_job(tmp_path, str(tmp_path / "out")), outcome(torch.nn.Linear(2, 2)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("files", range(4))
def test_a_run_that_ends_in_between_is_not_finished_and_the_next_one_mends_it(tmp_path: Path, files: int) -> None:
    output = str(tmp_path / "out")
    job = train_job(tmp_path, output)
    asked = 0

    def demand() -> None:
        nonlocal asked
        asked += 1
        if asked > files:
            raise HeldError("another run holds it")

    with pytest.raises(HeldError):
        write_model(job, outcome(), demand=demand, note=lambda message: None)
    assert read_model(output) is None
    model, _ = write(job, outcome())
    assert read_model(output) == model
    assert served(tmp_path, output)(torch.zeros(1, 3, 8, 8)).shape == (1, 3)


def test_what_is_written_is_a_function_of_what_was_trained(tmp_path: Path) -> None:
    first, _ = write(train_job(tmp_path, str(tmp_path / "a")), outcome())
    second, _ = write(train_job(tmp_path, str(tmp_path / "b")), outcome())
    assert first == second
    assert (tmp_path / "a" / "curves.png").read_bytes() == (tmp_path / "b" / "curves.png").read_bytes()


def test_further_training_begins_where_the_model_is(tmp_path: Path) -> None:
    write(train_job(tmp_path, str(tmp_path / "out")), outcome())
    further = resolve_model(ModelSettings(source="trained:out"), tmp_path, for_training=True)
    images = torch.rand(3, 3, 8, 8)
    assert torch.equal(further.load()(images), module()(images))
    model, _ = write(train_job(tmp_path, str(tmp_path / "more"), model=further), outcome(module()))
    assert model.model.source == "python:vb_trained_plugin:build"
    assert torch.equal(
        resolve_model(ModelSettings(source="trained:more"), tmp_path, for_training=True).load()(images),
        module()(images),
    )


@pytest.mark.s3
def test_it_is_written_to_s3(moto_s3: S3Bucket, tmp_path: Path) -> None:
    output = f"{moto_s3.uri}/trained"
    model, _ = write(train_job(tmp_path, output), outcome())
    assert read_model(output) == model
    assert served(tmp_path, output)(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
