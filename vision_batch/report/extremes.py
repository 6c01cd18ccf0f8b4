"""The few rows of a stream that are worth a look: by label those of the greatest keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Extremes:
    """For each label the `most` rows of the greatest keys, each row once; of equal keys the first rows.

    With random keys it is a reservoir: each row of a label is as likely to be kept as any other. Memory is
    16 bytes * labels * `most`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: Floats = np.empty((0, most))
        self._rows: Ints = np.empty((0, most), np.int64)

    def add(self, labels: Ints, rows: Ints, keys: NDArray[np.floating]) -> None:
        """Takes rows, (M,), each with its label from 0 on and its key; a key of NaN is passed over."""
        if not len(labels):
            return
        self._reach(int(labels.max()) + 1)
        better = keys > self._keys[labels, -1]
        if not better.any():
            return
        labels, rows, keys = labels[better], rows[better], keys[better].astype(np.float64)
        touched = np.unique(labels)
        kept = self._rows[touched] >= 0
        labels = np.concatenate([labels, np.repeat(touched, self._most)[kept.ravel()]])
        rows = np.concatenate([rows, self._rows[touched][kept]])
        keys = np.concatenate([keys, self._keys[touched][kept]])
        self._keys[touched], self._rows[touched] = -np.inf, -1
        order = np.lexsort((-keys, rows, labels))
        first = _starts(labels[order], rows[order])
        labels, rows, keys = labels[order][first], rows[order][first], keys[order][first]
        order = np.lexsort((rows, -keys, labels))
        labels, rows, keys = labels[order], rows[order], keys[order]
        starts = np.flatnonzero(_starts(labels))
        rank = np.arange(len(labels)) - np.repeat(starts, np.diff(np.append(starts, len(labels))))
        within = rank < self._most
        self._keys[labels[within], rank[within]] = keys[within]
        self._rows[labels[within], rank[within]] = rows[within]

    def rows(self, label: int = 0) -> list[int]:
        """Those of one label, the greatest key first; fewer where there were fewer."""
        if label >= len(self._rows):
            return []
        return [int(row) for row in self._rows[label] if row >= 0]

    def _reach(self, labels: int) -> None:
        new = labels - len(self._keys)
        if new > 0:
            self._keys = np.concatenate([self._keys, np.full((new, self._most), -np.inf)])
            self._rows = np.concatenate([self._rows, np.full((new, self._most), -1, np.int64)])


def _starts(*columns: Ints) -> NDArray[np.bool_]:
    """Where sorted rows begin to differ from the row before."""
    differs = np.ones(len(columns[0]), bool)
    differs[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return differs
