"""Settings of tasks: each kind has its own, and a definition holds what was chosen."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vision_batch.tasks.settings import KINDS, TaskSettings
from vision_batch.tasks.table import TASKS, TRAINABLE, task_for

DETECTION = {"type": "detection", "score_threshold": 0.05, "nms_iou": None, "max_boxes": 100, "masks": False}


def test_every_kind_is_in_the_table_and_those_with_labels_can_be_trained() -> None:
    assert set(TASKS) == set(KINDS)
    assert set(TRAINABLE) == {kind for kind, facts in KINDS.items() if facts.labels is not None}


@pytest.mark.parametrize(
    "said",
    [
        {"type": "classification", "top_k": 5, "score_threshold": 0.0},
        {"type": "classification", "top_k": 5, "score_threshold": 0.0, "temperature": 2.0},
        {"type": "classification", "multi_label": True, "score_threshold": {"cat": 0.3}},
        DETECTION,
        {**DETECTION, "nms_iou": 0.5, "masks": True},
        {"type": "segmentation"},
        {"type": "embedding", "normalise": True, "dtype": "float16", "pooling": "cls"},
        {"type": "segmentation", "tile_px": 512},
        {"type": "segmentation", "tile_px": 512, "tile_overlap": 0.5},
    ],
)
def test_a_definition_says_what_was_chosen_and_what_was_always_there(said: dict[str, Any]) -> None:
    settings = TaskSettings.model_validate(said)
    assert settings.model_dump() == said
    assert task_for(settings, ("cat", "dog")).fields()


def test_a_temperature_of_1_is_no_part_of_a_definition_as_before_there_was_one() -> None:
    assert "temperature" not in TaskSettings(type="classification", temperature=1).model_dump()


def test_detection_has_defaults_of_its_own() -> None:
    assert TaskSettings(type="detection").model_dump() == DETECTION


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (("cat", "dog"), "task.score_threshold: found 'cats'; expected the model's labels, perhaps 'cat'"),
        (
            ("a", "b", "c", "d", "e", "f"),
            "task.score_threshold: found 'cats'; expected the model's labels, a, b, c, d, e …",
        ),
        (None, "task.score_threshold: found 'cats'; expected the index of a class, or model.labels"),
    ],
)
def test_a_threshold_of_a_label_that_the_model_has_not(labels: tuple[str, ...] | None, problem: str) -> None:
    known = "0" if labels is None else labels[0]
    settings = TaskSettings(type="classification", multi_label=True, score_threshold={"cats": 0.3, known: 0.4})
    assert [str(each) for each in settings.strangers(labels)] == [problem]
    assert TaskSettings(type="classification", multi_label=True).strangers(labels) == []


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ({"type": "detection", "top_k": 3}, "no top_k: detection has score_threshold, nms_iou, max_boxes, masks"),
        ({"type": "segmentation", "temperature": 2}, "no temperature: segmentation has tile_px, tile_overlap"),
        ({"type": "segmentation", "tile_overlap": 0.5}, "tile_overlap with tile_px only"),
        ({"type": "segmentation", "tile_px": 8}, "greater than or equal to 16"),
        ({"type": "classification", "tile_px": 512}, "no tile_px: classification has"),
        ({"type": "classification", "masks": True}, "no masks: classification has"),
        ({"type": "detection", "multi_label": True}, "multi_label with type: classification only"),
        ({"type": "detection", "score_threshold": {"cat": 0.5}}, "one score_threshold: only with multi_label"),
        ({"type": "classification", "multi_label": True, "score_threshold": {"cat": 1.5}}, "less than or equal to 1"),
        ({"type": "classification", "temperature": 0}, "greater than 0"),
        ({"type": "detection", "nms_iou": 1.5}, "less than or equal to 1"),
        ({"type": "detection", "max_boxes": 0}, "greater than or equal to 1"),
        ({"type": ["detection"]}, "Input should be"),
    ],
)
def test_what_does_not_go_together_is_refused(task: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TaskSettings.model_validate(task)
