"""Which tasks there are."""

from __future__ import annotations

from vision_batch.tasks.classification import Classification
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.task import Task

TASKS = {"classification": Classification}


def task_for(settings: TaskSettings, labels: tuple[str, ...] | None) -> Task:
    """The task of a spec; `labels` are the model's, class index to name."""
    return TASKS[settings.type](top_k=settings.top_k, score_threshold=settings.score_threshold, labels=labels)
