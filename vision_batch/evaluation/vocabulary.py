"""The names of classes, of predictions and of truth, as indices."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import ImageError, Problem, SpecError
from vision_batch.tasks.class_index import class_name, find_class, vocabulary

MOST_CLASSES: Final = 100_000
"""A column with more names than this is no label but an identity."""


class Vocabulary:
    """Grows with the names that it is asked for; those of the model come first, in its order.

    Names that the model gives to two of its classes are one class. A truth that is a whole number is an index where
    the model has names that are no numbers.
    """

    def __init__(self, labels: tuple[str, ...] | None = None) -> None:
        self._labels = labels or ()
        self._index = {name: index for index, name in enumerate(dict.fromkeys(self._labels))}
        self._known = len(self._index)
        self._true: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self._index)

    @property
    def names(self) -> list[str]:
        """Index to name."""
        return list(self._index)

    def notes(self) -> list[str]:
        """That the truth has classes which the model does not know: perhaps they are only written otherwise."""
        unknown = self.names[self._known :] if self._labels else []
        return [f"{len(unknown):,} classes of the truth are none of the model's: {unknown[0]!r}"] if unknown else []

    @property
    def order(self) -> list[int]:
        """All indices as they are to be shown: the model's classes in its order, then the others by name."""
        others = vocabulary(self.names[self._known :])
        return [*range(self._known), *(self._index[name] for name in others)]

    def predicted(self, labels: pa.Array) -> NDArray[np.int64]:
        """Indices (n,) of names that a model gave, or of whole numbers; -1 for null. SpecError for anything else."""
        return self._encoded(labels, self._predicted_index)

    def true(self, labels: pa.Array) -> NDArray[np.int64]:
        """Indices (n,) of what a truth says: names, or whole numbers; -1 for null. SpecError for anything else."""
        return self._encoded(labels, self._true_index)

    def _encoded(self, labels: pa.Array | pa.ChunkedArray, index: Any) -> NDArray[np.int64]:
        if isinstance(labels, pa.ChunkedArray):
            labels = labels.combine_chunks()
        if pa.types.is_nested(labels.type):
            raise SpecError(Problem("label", f"a column of {labels.type}", "the names of classes, or whole numbers"))
        if not pa.types.is_dictionary(labels.type):
            labels = labels.dictionary_encode()
        indices = np.array([*map(index, labels.dictionary.to_pylist()), -1], np.int64)
        return np.asarray(indices[labels.indices.fill_null(len(indices) - 1).to_numpy(zero_copy_only=False)], np.int64)

    def _predicted_index(self, value: Any) -> int:
        if value is None:
            return -1
        return self._at(str(value) if str(value) in self._index else _named(value, "label"))

    def _true_index(self, value: Any) -> int:
        if value is None:
            return -1
        found = self._true.get(value)
        if found is None:
            name = _named(value, "truth")
            known = find_class(name, self._labels)
            found = self._true[value] = self._at(name if known is None else self._labels[known])
        return found

    def _at(self, name: str) -> int:
        index = self._index.setdefault(name, len(self._index))
        if index >= MOST_CLASSES + self._known:
            found = f"more than {MOST_CLASSES:,} different labels, {name!r} being one"
            raise SpecError(Problem("truth", found, "labels: a column with that many is an identity"))
        return index


def _named(value: Any, where: str) -> str:
    try:
        return class_name(value)
    except ImageError as error:
        raise SpecError(Problem(where, error.message, "the name of a class, or a whole number")) from None
