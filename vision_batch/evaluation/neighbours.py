"""The nearest neighbours of vectors among any number of others, of which only a block is ever held."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError

BLOCK: Final = 2048
"""Vectors that are compared with as many others at once: 16 MiB of cosines."""


def vectors(column: pa.ChunkedArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Of n images the vectors (m, D), of length 1 (or 0), of those that have one, and which those are (n,).

    SpecError where they are not lists of equally many numbers.
    """
    array = column.combine_chunks()
    known = array.is_valid()
    lists = array.filter(known)
    tests = pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list
    if not any(test(lists.type) for test in tests) or not pa.types.is_floating(lists.type.value_type):
        raise SpecError(Problem("embedding", f"a column of {array.type}", "lists of floating-point numbers"))
    numbers = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    sizes = np.unique(pc.list_value_length(lists).to_numpy(zero_copy_only=False))
    if len(sizes) > 1:
        found = f"vectors of {', '.join(map(str, sizes.tolist()))} numbers"
        raise SpecError(Problem("embedding", found, "equally many in every image"))
    if not np.isfinite(numbers).all():
        raise SpecError(Problem("embedding", "a vector with NaN, an infinity or a null in it", "finite numbers"))
    return unit(numbers.reshape(len(lists), *sizes.tolist() or [0])), np.asarray(known, np.bool_)


def unit(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (n, D) of length 1; zeros stay zeros."""
    length = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    return (matrix / np.where(length > 0, length, 1)).astype(np.float32)


class Nearest:
    """For each of q queries the `most` nearest, by cosine, of all vectors that are added."""

    def __init__(self, queries: NDArray[np.float32], most: int) -> None:
        self._queries = queries
        self._cosine = np.full((len(queries), most), -np.inf, np.float32)
        self._label = np.full((len(queries), most), -1, np.int32)

    def add(self, others: NDArray[np.float32], labels: NDArray[np.int32], same: NDArray[np.int64]) -> None:
        """Vectors (n, D) with labels (n,). `same` (n,) is the query that a vector itself is, so that it is not near it,
        or -1. SpecError where they have not the queries' dimensions.
        """
        if len(others) and len(self._queries) and others.shape[1] != self._queries.shape[1]:
            found = f"vectors of {others.shape[1]} and of {self._queries.shape[1]} numbers"
            raise SpecError(Problem("embedding", found, "equally many in every image"))
        for first in range(0, len(others), BLOCK):
            some = slice(first, first + BLOCK)
            for query in range(0, len(self._queries), BLOCK):
                self._merge(slice(query, query + BLOCK), others[some], labels[some], same[some] - query)

    def labels(self) -> NDArray[np.int32]:
        """Of the nearest (q, most), the nearest first; -1 where there are fewer."""
        order = np.argsort(-self._cosine, axis=1, kind="stable")
        return np.take_along_axis(self._label, order, axis=1)

    def _merge(
        self, queries: slice, others: NDArray[np.float32], labels: NDArray[np.int32], same: NDArray[np.int64]
    ) -> None:
        cosine = self._queries[queries] @ others.T
        own = np.flatnonzero((same >= 0) & (same < len(cosine)))
        cosine[same[own], own] = -np.inf
        most = self._cosine.shape[1]
        candidates = np.concatenate([self._cosine[queries], cosine], axis=1)
        nearest = np.argpartition(-candidates, most - 1, axis=1)[:, :most]
        self._cosine[queries] = np.take_along_axis(candidates, nearest, axis=1)
        of_others = labels[np.clip(nearest - most, 0, None)]
        before = np.take_along_axis(self._label[queries], np.minimum(nearest, most - 1), axis=1)
        is_vector = np.isfinite(self._cosine[queries])
        self._label[queries] = np.where(is_vector, np.where(nearest >= most, of_others, before), -1)
