"""64-bit hashes that say who comes where: the same on every machine and with every version of every library.

A resume must find the order that an earlier run had, so that no order comes from a generator of random numbers.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def key_of(*facts: str | int) -> int:
    """A 64-bit number for texts and numbers."""
    return int.from_bytes(hashlib.blake2b(repr(facts).encode(), digest_size=8).digest(), "little")


def text_hash(text: str) -> int:
    """A 64-bit number for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def mixed(values: NDArray[Any], key: int | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Of each integer a number that is as good as random, another one with another key; with one key no two are equal.

    The output function of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    """
    state = values.astype(np.uint64) * GOLDEN + np.asarray(key, np.uint64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)), np.uint64)


def permutation(count: int, key: int) -> NDArray[np.int64]:
    """The numbers below `count`, shuffled."""
    return np.argsort(mixed(np.arange(count), key), kind="stable")
