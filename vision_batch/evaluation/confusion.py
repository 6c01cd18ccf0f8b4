"""Which class was taken for which: counts of pairs, of any number of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.measure import ConfusionCell
from vision_batch.evaluation.score_keys import Keys
from vision_batch.evaluation.scores import Counts, first_of_runs, summed

MOST_PAIRS: Final = 1 << 20
PREDICTED_BITS: Final = np.uint64(32)


class Confusion:
    """Exact up to `most` different pairs; beyond it the rarest are forgotten: a count is then at least what it says."""

    def __init__(self, *, most: int = MOST_PAIRS) -> None:
        self._most = most
        self._keys: Keys = np.empty(0, np.uint64)
        self._counts: Counts = np.empty(0, np.int64)
        self.is_exact = True

    def add(
        self, truth: NDArray[np.int64], predicted: NDArray[np.int64], weights: NDArray[np.int64] | None = None
    ) -> None:
        """Counts pairs (n,) of class indices; -1 is no class."""
        keys = ((truth + 1).astype(np.uint64) << PREDICTED_BITS) | (predicted + 1).astype(np.uint64)
        if weights is None:
            keys.sort()
            first = first_of_runs(keys)
            keys, weights = keys[first], np.diff(first, append=len(keys))
        keys, counts = np.concatenate([self._keys, keys]), np.concatenate([self._counts, weights])
        self._keys, self._counts = summed(keys, counts)
        if len(self._keys) > self._most:
            self._forget()

    def cells(self, names: Sequence[str]) -> list[ConfusionCell]:
        """The most frequent first, of equal ones by index."""
        every = [*names, None]
        order = np.argsort(-self._counts, kind="stable")
        order = order[self._counts[order] > 0]
        truths = (self._keys[order] >> PREDICTED_BITS).astype(np.int64) - 1
        predicted = (self._keys[order] & np.uint64((1 << 32) - 1)).astype(np.int64) - 1
        return [
            ConfusionCell(truth=every[truth], predicted=every[taken], count=count)
            for truth, taken, count in zip(
                truths.tolist(), predicted.tolist(), self._counts[order].tolist(), strict=True
            )
        ]

    def _forget(self) -> None:
        self.is_exact = False
        kept = np.sort(np.argsort(-self._counts, kind="stable")[: self._most // 2])
        self._keys, self._counts = self._keys[kept], self._counts[kept]
