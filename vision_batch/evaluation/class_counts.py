"""Precision, recall and F1, by class and averaged as scikit-learn does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.measure import Value
from vision_batch.evaluation.scores import ratio


class ClassCounts:
    """How often each class is true, predicted, and both.

    Means are over the classes that are true or predicted somewhere; what is not defined for one of them, such as the
    precision of a class that is never predicted, counts as 0 there (scikit-learn's `zero_division=0`).
    """

    def __init__(self) -> None:
        self._counts = np.zeros((3, 0), np.int64)

    def grow(self, classes: int) -> None:
        """Makes room for that many."""
        if classes > self._counts.shape[1]:
            self._counts = np.pad(self._counts, ((0, 0), (0, classes - self._counts.shape[1])))

    def add(self, true: NDArray[np.int64], predicted: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Counts (C,) of each class."""
        self._counts += np.stack([true, predicted, right])

    @property
    def true(self) -> NDArray[np.int64]:
        return np.asarray(self._counts[0])

    @property
    def predicted(self) -> NDArray[np.int64]:
        return np.asarray(self._counts[1])

    @property
    def right(self) -> NDArray[np.int64]:
        return np.asarray(self._counts[2])

    def balanced_accuracy(self) -> float | None:
        """The mean recall of the classes that are true somewhere."""
        occurs = self.true > 0
        return float((self.right[occurs] / self.true[occurs]).mean()) if occurs.any() else None

    def averages(self) -> Iterator[Value]:
        """Macro (of classes), weighted (of classes, by how often they are true) and micro (of all counts together)."""
        support = int(self.true.sum())
        occurs = self.true + self.predicted > 0
        by_class = {name: np.nan_to_num(values[occurs]) for name, values in _measured(self._counts).items()}
        micro = _measured(self._counts.sum(axis=1, keepdims=True))
        for name, values in by_class.items():
            yield Value(metric=f"macro_{name}", value=float(values.mean()) if len(values) else None, support=support)
            weighted = float(values @ self.true[occurs] / support) if support else None
            yield Value(metric=f"weighted_{name}", value=weighted, support=support)
            yield Value(metric=f"micro_{name}", value=defined(micro[name][0]), support=support)

    def by_class(self, names: Sequence[str], order: Sequence[int]) -> Iterator[Value]:
        """Of the classes that are true or predicted somewhere; None where it is not defined."""
        for name, values in _measured(self._counts).items():
            for index in order:
                if self.true[index] + self.predicted[index] > 0:
                    support = int(self.true[index])
                    yield Value(metric=name, label=names[index], value=defined(values[index]), support=support)


def counted(indices: NDArray[np.int64], weights: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """How often each index below `length` occurs, each time with its weight."""
    return np.bincount(indices, weights, length).astype(np.int64)


def defined(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else float(value)


def _measured(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    true, predicted, right = counts.astype(np.float64)
    return {
        "precision": ratio(right, predicted),
        "recall": ratio(right, true),
        "f1": ratio(2 * right, true + predicted),
    }
