"""The training parts of a spec: what they allow, and what they say of what they do not."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from vision_batch.documents.validation import validate_settings
from vision_batch.errors import SpecError
from vision_batch.training.settings import TrainComputeSettings, TrainSettings, ValidationSettings

INTERFACE = {
    "epochs": 10,
    "batch_size": 64,
    "optimizer": {"name": "adamw", "lr": 1.0e-3, "weight_decay": 0.01},
    "schedule": {"name": "cosine", "warmup_epochs": 1},
    "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
    "seed": 0,
}


def problem(model: type[Any], **document: Any) -> str:
    with pytest.raises(SpecError) as caught:
        validate_settings(model, document, what="the section")
    (found,) = caught.value.problems
    return str(found)


def test_the_documented_example_is_understood() -> None:
    settings = validate_settings(TrainSettings, INTERFACE, what="train")
    assert [(loss.name, loss.label_smoothing) for loss in settings.losses] == [("cross_entropy", 0.1)]
    assert validate_settings(ValidationSettings, {"fraction": 0.2}, what="validation").every_epochs == 1
    assert validate_settings(TrainComputeSettings, {"workers": [2, 8]}, what="compute").workers == (2, 8)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 0}, "epochs: found the number 0; expected a whole number of at least 1"),
        ({"optimizer": {"lr": float("inf")}}, "optimizer.lr: found the number inf; expected a number above 0"),
        ({"optimizer": {"name": "adam", "momentum": 0.9}}, "no momentum with adam: it belongs to sgd and rmsprop"),
        ({"optimizer": {"name": "sgd", "nesterov": True, "momentum": 0}}, "momentum above 0 for nesterov"),
        ({"optimizer": {"name": "lion"}}, "optimizer.name: found 'lion'; expected sgd, adam, adamw or rmsprop"),
        ({"loss": {"name": "dice", "gamma": 2}}, "no gamma with dice: it belongs to focal"),
        ({"loss": [{"name": "bce"}, {"name": "mse", "delta": 1}]}, "loss.1: .* no delta with mse"),
        ({"loss": []}, "loss: found a list of 0"),
        ({"schedule": {"name": "cosine", "factor": 0.1}}, "no factor with cosine: it belongs to step"),
        ({"schedule": {"name": "one_cycle", "warmup_epochs": 0}}, "warmup_epochs above 0 with one_cycle"),
        ({"schedule": {"name": "cosine", "start_factor": 0.5}}, "warmup_epochs above 0 beside start_factor"),
        ({"epochs": 2, "schedule": {"warmup_epochs": 2}}, r"schedule.warmup_epochs \(2\) below epochs \(2\)"),
        ({"loss": {"name": "mse"}, "class_weights": "balanced"}, "class_weights only with one of the losses cross_ent"),
        ({"class_weights": [0, 0]}, "one at least is above 0"),
        ({"mixup": 0}, "mixup: found the number 0; expected a number above 0"),
        ({"clas_weights": "balanced"}, "did you mean 'class_weights'"),
        ({"fsdp": "maybe"}, "true or false"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(changes: dict[str, Any], expected: str) -> None:
    assert re.search(expected, problem(TrainSettings, **{"epochs": 10} | changes))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, "exactly one of uri, fraction and folds, here none"),
        ({"fraction": 0.2, "folds": 5}, "here fraction and folds"),
        ({"fraction": 1.0}, "fraction: found the number 1.0; expected a number above 0"),
        ({"uri": "/data", "stratify": True}, "stratify only with fraction or folds"),
        ({"uri": []}, "a folder, file or glob"),
    ],
)
def test_validation_has_one_source(document: dict[str, Any], expected: str) -> None:
    assert expected in problem(ValidationSettings, **document)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"workers": [4, 2]}, "workers as [fewest, most], here [4, 2]"),
        ({"workers": [4]}, "auto, a whole number of at least 1 or a list of 2"),
        ({"gpus_per_worker": 2}, "auto or a whole number from 0 to 1"),
    ],
)
def test_workers_are_a_number_or_a_range(document: dict[str, Any], expected: str) -> None:
    assert expected in problem(TrainComputeSettings, **document)


def test_to_read_a_spec_needs_neither_torch_nor_ray() -> None:
    code = "import sys, vision_batch.training.settings; sys.exit(bool({'torch', 'ray', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
