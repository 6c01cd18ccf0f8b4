"""Which tasks there are."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from vision_batch.tasks.classification import Classification
from vision_batch.tasks.detection import Detection
from vision_batch.tasks.embedding import Embedding
from vision_batch.tasks.multilabel import MultiLabel
from vision_batch.tasks.segmentation import Segmentation
from vision_batch.tasks.settings import Kind, TaskSettings
from vision_batch.tasks.task import Task, TrainableTask

Trainable: TypeAlias = type[Classification] | type[MultiLabel] | type[Detection] | type[Segmentation]

TRAINABLE: Final[dict[Kind, Trainable]] = {
    "classification": Classification,
    "multi_label": MultiLabel,
    "detection": Detection,
    "segmentation": Segmentation,
}
"""Those whose settings say what an image's label is (`labels_are`)."""

TASKS: Final[dict[Kind, Trainable | type[Embedding]]] = {**TRAINABLE, "embedding": Embedding}


def task_for(settings: TaskSettings, labels: tuple[str, ...] | None) -> Task:
    """The task of a spec; `labels` are the model's, class index to name."""
    return TASKS[settings.kind](labels=labels, **_chosen(settings))


def trainable_task_for(settings: TaskSettings, labels: tuple[str, ...] | None) -> TrainableTask:
    """The same of a kind that can be trained; to train it the labels must be known."""
    return TRAINABLE[settings.kind](labels=labels, **_chosen(settings))


def _chosen(settings: TaskSettings) -> dict[str, Any]:
    return {key: getattr(settings, key) for key in settings.own_keys}
