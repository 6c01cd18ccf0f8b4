"""Settings of training that make no sense for the task are told before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.fit import misfits
from vision_batch.training.settings import TrainSettings

SEVERAL = {"type": "classification", "multi_label": True}
ONE = {"type": "classification"}
MASKS = {"type": "segmentation"}
BOXES = {"type": "detection"}


def found(task: dict[str, Any], **train: Any) -> list[str]:
    settings = TrainSettings.model_validate({"epochs": 1} | train)
    return [str(problem) for problem in misfits(settings, TaskSettings.model_validate(task))]


@pytest.mark.parametrize(
    ("task", "train"),
    [
        (ONE, {}),
        (ONE, {"mixup": 0.2, "sampling": "sqrt", "class_weights": "balanced", "loss": {"name": "focal"}}),
        (SEVERAL, {"cutmix": 1.0, "class_weights": "balanced"}),
        (MASKS, {"loss": [{"name": "cross_entropy"}, {"name": "dice"}], "class_weights": [1, 2]}),
        (BOXES, {}),
    ],
)
def test_what_goes_together_has_no_problem(task: dict[str, Any], train: dict[str, Any]) -> None:
    assert found(task, **train) == []


@pytest.mark.parametrize(
    ("task", "train", "problem"),
    [
        (ONE, {"loss": {"name": "dice"}}, "train.loss.name: found dice, for classification; expected one of cross_en"),
        (
            SEVERAL,
            {"loss": [{"name": "bce"}, {"name": "cross_entropy"}]},
            "train.loss.1.name: found cross_entropy, for m",
        ),
        (MASKS, {"mixup": 0.2}, "train.mixup: found a segmentation to learn; expected no mixing"),
        (MASKS, {"cutmix": 0.2}, "train.cutmix: found a segmentation to learn; expected no mixing"),
        (
            MASKS,
            {"class_weights": "balanced"},
            "train.class_weights: found balanced, for segmentation; expected a list",
        ),
        (MASKS, {"sampling": "balanced"}, "train.sampling: found balanced, for segmentation; expected none"),
        (BOXES, {"mixup": 0.2}, "train.mixup: found a detection to learn; expected no mixing"),
        (BOXES, {"cutmix": 0.2}, "train.cutmix: found a detection to learn; expected no mixing"),
        (
            BOXES,
            {"loss": [{"name": "focal"}]},
            "train.loss: found focal, for detection; expected none: the module brings",
        ),
        (BOXES, {"sampling": "sqrt"}, "train.sampling: found sqrt, for detection; expected none"),
        (BOXES, {"class_weights": [1, 2]}, "train.class_weights: found [1.0, 2.0], for detection; expected none"),
        (SEVERAL, {"sampling": "sqrt"}, "train.sampling: found sqrt, for multi-label; expected none"),
    ],
)
def test_each_misfit_is_named(task: dict[str, Any], train: dict[str, Any], problem: str) -> None:
    (message,) = found(task, **train)
    assert message.startswith(problem)
