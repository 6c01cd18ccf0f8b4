"""Class index to name in what is exported: the model's, or as the rows say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vision_batch.errors import Problem, SpecError

MOST_CLASSES: Final = 1_000_000
"""Formats name all classes up to the highest one: a number that is no class must not fill the memory."""


class ClassNames:
    """Every class has one index; `names` are complete when all rows have passed."""

    def __init__(self, labels: Sequence[str] | None) -> None:
        self._names = dict(enumerate(labels or ()))
        self._indices = {name: index for index, name in reversed(self._names.items())}

    def index(self, label: str, label_index: int | None) -> int:
        """The class of a prediction; without an index that of its name, or the next one.

        SpecError where the index is another class's, as in tables that were put together of several outputs, or none.
        """
        index = label_index if label_index is not None else self._indices.get(label, len(self._names))
        if not 0 <= index < MOST_CLASSES:
            raise SpecError(Problem("label_index", f"{index} of {label!r}", f"a number from 0 to {MOST_CLASSES - 1}"))
        name = self._names.setdefault(index, label)
        if name != label:
            found = f"class {index} called {label!r}, and {name!r} before"
            raise SpecError(Problem("label_index", found, "one name for each index: predictions of one model"))
        self._indices.setdefault(label, index)
        return index

    @property
    def names(self) -> list[str]:
        """By index; one that no row has and no model names is called by its number."""
        return [self._names.get(index, str(index)) for index in range(max(self._names, default=-1) + 1)]
