"""The classes of a training: those that the spec names, or else those that the data have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from vision_batch.datasets.naming import shortened
from vision_batch.errors import ImageError, Problem, SpecError
from vision_batch.tasks.class_index import class_index, vocabulary
from vision_batch.tasks.settings import TaskSettings

SHOWN = 3
MOST_CLASSES = 100_000
"""A column with more names than this is no label but an identity."""


def labels_for(task: TaskSettings, given: tuple[str, ...] | None, found: Iterable[str]) -> tuple[str, ...]:
    """Class index to name: `given` by the spec or the model, else the vocabulary of all names `found` in the data.

    SpecError where that makes no classes to learn, or the data have none of those that are given; masks name none, so
    segmentation needs `given`.
    """
    if given is not None:
        _demand_some_known(given, set(found) if task.labels_are != "mask" else set())
        return given
    if task.labels_are == "mask":
        raise SpecError(Problem("model.labels", "nothing", "the names of the classes: a mask has only their indices"))
    labels = vocabulary(found)
    fewest = 2 if task.labels_are == "one" else 1
    if not fewest <= len(labels) <= MOST_CLASSES:
        what = f"{len(labels)} classes in the labels" + (f", {labels[0]!r}" if len(labels) == 1 else "")
        expected = f"from {fewest} to {MOST_CLASSES} classes, or their names in model.labels"
        raise SpecError(Problem("input.label_column", what, expected))
    if strangers := task.strangers(labels):
        raise SpecError(strangers)
    return labels


def mismatches(labels: tuple[str, ...], counts: Mapping[str, int]) -> Iterator[str]:
    """What is to be said of names in the data that are no class, and of classes without images, a sentence each.

    `counts` has the images of each name.
    """
    strangers = {name: count for name, count in counts.items() if index_of(name, labels) is None}
    most = sorted(strangers, key=lambda name: (-strangers[name], name))
    for name in most[:SHOWN]:
        have = "1 image has" if strangers[name] == 1 else f"{strangers[name]:,} images have"
        yield f"{have} the label {shortened(name, 40)!r}, which is none of model.labels"
    if rest := most[SHOWN:]:
        images = sum(strangers[name] for name in rest)
        yield f"{images:,} images have {len(rest):,} other labels that are none of model.labels"
    seen = {index_of(name, labels) for name in counts}
    if missing := [label for index, label in enumerate(labels) if index not in seen]:
        yield f"no image has {'the label' if len(missing) == 1 else 'one of the labels'} {_few(missing)}"


def index_of(name: str, labels: tuple[str, ...]) -> int | None:
    """The class that a name in the data means, None for none."""
    try:
        return class_index(name, labels)
    except ImageError:
        return None


def _demand_some_known(given: tuple[str, ...], found: set[str]) -> None:
    """SpecError where no name in the data is a class of the model, so that every image would be left out."""
    if found and all(index_of(name, given) is None for name in found):
        what = f"{_few(sorted(found))} in the data, and no class of that name among the model's, {_few(given)}"
        expected = "the names in the data; a transformers: model gets a new head for them"
        raise SpecError(Problem("model.labels", what, expected))


def _few(names: Sequence[str]) -> str:
    return ", ".join(shortened(name, 40) for name in names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
