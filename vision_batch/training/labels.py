"""The classes of a training: those that the spec names, or else those that the data have."""

from __future__ import annotations

from collections.abc import Iterable

from vision_batch.errors import Problem, SpecError
from vision_batch.tasks.class_index import vocabulary
from vision_batch.tasks.settings import TaskSettings

MOST_CLASSES = 100_000
"""A column with more names than this is no label but an identity."""


def labels_for(task: TaskSettings, given: tuple[str, ...] | None, found: Iterable[str]) -> tuple[str, ...]:
    """Class index to name: `given` by the spec or the model, else the vocabulary of all names `found` in the data.

    SpecError where that makes no classes to learn; masks name none, so segmentation needs `given`.
    """
    if given is not None:
        return given
    if task.kind == "segmentation":
        raise SpecError(Problem("model.labels", "nothing", "the names of the classes: a mask has only their indices"))
    labels = vocabulary(found)
    fewest = 2 if task.kind == "classification" else 1
    if not fewest <= len(labels) <= MOST_CLASSES:
        what = f"{len(labels)} classes in the labels" + (f", {labels[0]!r}" if len(labels) == 1 else "")
        expected = f"from {fewest} to {MOST_CLASSES} classes, or their names in model.labels"
        raise SpecError(Problem("input.label_column", what, expected))
    return labels
