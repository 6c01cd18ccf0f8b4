"""Which tasks there are."""

from __future__ import annotations

from vision_batch.tasks.classification import Classification
from vision_batch.tasks.multilabel import MultiLabel
from vision_batch.tasks.segmentation import Segmentation
from vision_batch.tasks.settings import Kind, TaskSettings
from vision_batch.tasks.task import TrainableTask

TASKS: dict[Kind, type[Classification] | type[MultiLabel] | type[Segmentation]] = {
    "classification": Classification,
    "multi_label": MultiLabel,
    "segmentation": Segmentation,
}


def task_for(settings: TaskSettings, labels: tuple[str, ...] | None) -> TrainableTask:
    """The task of a spec; `labels` are the model's, class index to name. To train it they must be known."""
    chosen = {key: getattr(settings, key) for key in settings.own_keys}
    return TASKS[settings.kind](labels=labels, **chosen)
