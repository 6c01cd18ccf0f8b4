"""Finds ids among many, by hashes of their bytes: no Python object per id."""

from __future__ import annotations

from itertools import count
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError

Hashes = NDArray[np.uint64]

ROWS: Final = 1 << 16
"""Hashed at once: all the numbers that it takes are then some MiB."""
WORD: Final = 8
GOLDEN: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


def id_hashes(ids: pa.Array, seed: int = 0) -> Hashes:
    """A 64-bit hash (n,) of each id (string, no nulls): the sum of its words of 8 bytes, each mixed with its place.

    Two ids of one hash are as rare as if hashes were random; with another `seed` others have one.
    """
    array = ids.cast(pa.large_string())
    return np.concatenate([_hashed(array[first : first + ROWS], seed) for first in range(0, max(len(array), 1), ROWS)])


def _hashed(array: pa.Array, seed: int) -> Hashes:
    """Of a large_string array, no more than are held several times over without harm."""
    if not len(array):
        return np.empty(0, np.uint64)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    data = bytes(memoryview(array.buffers()[2] or b"")[offsets[0] : offsets[-1]]) + bytes(WORD)
    every = np.ndarray(len(data) - WORD + 1, "<u8", data, strides=(1,))  # the word that begins at each byte
    lengths = np.diff(offsets)
    counts = lengths // WORD + 1  # the last word holds no byte or up to seven, and the length above them
    first = np.cumsum(counts) - counts
    places = np.arange(counts.sum()) - np.repeat(first, counts)
    words = every[np.repeat(offsets[:-1] - offsets[0], counts) + places * WORD]
    last = first + counts - 1
    used = (8 * (lengths % WORD)).astype(np.uint64)
    words[last] &= (np.uint64(1) << used) - np.uint64(1)
    words += _mixed(np.arange(counts.max(), dtype=np.uint64) + np.uint64(seed << 32))[places]
    words[last] ^= _mixed(lengths.astype(np.uint64))
    return np.asarray(_mixed(np.add.reduceat(_mixed(words), first)), np.uint64)


class IdIndex:
    """The places of ids (string, no nulls). SpecError, naming one, where an id repeats."""

    def __init__(self, ids: pa.Array, *, where: str) -> None:
        self._ids = ids
        for self._seed in count():
            hashes = id_hashes(ids, self._seed)
            self._places = np.argsort(hashes, kind="stable")
            self._hashes = hashes[self._places]
            same = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
            if not len(same):
                return
            demand_different(ids.take(pa.array(self._places[same])), ids.take(pa.array(self._places[same + 1])), where)

    def places(self, ids: pa.Array) -> NDArray[np.int64]:
        """Where each of n ids is (n,), -1 where it is not."""
        if not len(self._hashes):
            return np.full(len(ids), -1, np.int64)
        hashes = id_hashes(ids, self._seed)
        order = np.argsort(hashes)  # to search in order is to search nearby: much is still in the caches
        near = np.empty(len(ids), np.int64)
        near[order] = np.minimum(np.searchsorted(self._hashes, hashes[order]), len(self._hashes) - 1)
        found = self._places[near]
        is_same = pc.equal(self._ids.take(pa.array(found)), ids).to_numpy(zero_copy_only=False)
        return np.where((self._hashes[near] == hashes) & is_same, found, -1)


def demand_different(one: pa.Array, other: pa.Array, where: str) -> None:
    """SpecError for the first id that is the same in both."""
    repeated = pc.filter(one, pc.equal(one, other))
    if len(repeated):
        found = f"the id {repeated[0].as_py()!r} more than once"
        raise SpecError(Problem(where, found, "each id once: rows that have one id cannot be told apart"))


def _mixed(values: Hashes) -> Hashes:
    """The last step of SplitMix64 (Steele, Lea, Flood, 2014): a permutation, in which every bit depends on all bits."""
    values = values + GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return np.asarray(values ^ (values >> np.uint64(31)), np.uint64)
