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

GOLDEN: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


def id_hashes(ids: pa.Array, seed: int = 0) -> Hashes:
    """A 64-bit hash (n,) of each id (string, no nulls): the sum of its bytes times random numbers, mixed.

    The numbers belong to the places of the bytes (multilinear hashing; Dietzfelbinger, 1996), so that two ids have one
    hash with odds of 2 ** -57 at most, whatever they are.
    """
    array = ids.cast(pa.large_string())
    if not len(array):
        return np.empty(0, np.uint64)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(array.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    lengths = np.diff(offsets)
    starts = offsets[:-1] - offsets[0]
    factors = np.random.default_rng(seed).integers(0, 1 << 63, int(lengths.max(initial=0)), np.uint64) * np.uint64(2)
    places = np.arange(len(data)) - np.repeat(starts, lengths)
    sums = np.concatenate([[np.uint64(0)], np.cumsum((data + np.uint64(1)) * (factors[places] + np.uint64(1)))])
    return _mixed(sums[starts + lengths] - sums[starts])


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
        near = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
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
    """The last step of SplitMix64: every bit of a hash depends on all bits of the sum."""
    values = values + GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return np.asarray(values ^ (values >> np.uint64(31)), np.uint64)
