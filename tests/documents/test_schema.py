"""What is said of a value that the schema does not have: what to write instead, shortly."""

from __future__ import annotations

from typing import Any

import pytest

from vision_batch.errors import SpecError
from vision_batch.jobs.validation import validate

TRAIN = {
    "job": "train",
    "name": "x",
    "input": {"uri": "a"},
    "model": {"source": "python:a:b"},
    "task": {"type": "classification"},
    "output": {"uri": "o"},
    "train": {"epochs": 4},
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"augment": {"rotate": {"degrees": 3}}},
            "augment: found a mapping; expected a list, even of one: [{rotate: …}]",
        ),
        ({"augment": "rotate"}, "augment: found 'rotate'; expected a list, even of one: [rotate]"),
        ({"train": {"epochs": 4, "loss": "dice"}}, "train.loss: found 'dice'; expected {name: dice}"),
        ({"train": {"epochs": 4, "loss": ["dice"]}}, "train.loss.0: found 'dice'; expected {name: dice}"),
        ({"task": "classification"}, "task: found 'classification'; expected {type: classification}"),
        (
            {"train": {"epochs": 4, "optimizer": "lion"}},
            "train.optimizer: found 'lion'; expected {name: …}, of sgd, adam, adamw, rmsprop",
        ),
        (
            {"train": {"epochs": 4, "schedule": {"warmup_epochs": 10}}},
            "train: expected schedule.warmup_epochs (10) below epochs (4)",
        ),
    ],
)
def test_what_is_nearly_right_is_told_what_to_write(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as refused:
        validate(TRAIN | change)
    assert str(refused.value) == words


def test_operations_are_listed_once() -> None:
    with pytest.raises(SpecError) as refused:
        validate(TRAIN | {"augment": 5})
    assert str(refused.value).count("trivial_augment") == 1
