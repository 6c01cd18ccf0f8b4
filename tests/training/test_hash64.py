"""Hashes that an output relies on for ever."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.training.hash64 import key_of, mixed, permutation, text_hash


def test_hashes_never_change() -> None:
    """A training that goes on must find the order and the split that it began with."""
    assert key_of("a", 1) == KEY
    assert text_hash("cats/0007.jpg") == TEXT
    assert mixed(np.array([0, 1]), 2).tolist() == MIXED
    assert permutation(6, 3).tolist() == ORDER


@given(st.integers(0, 300), st.integers(0, 2**64 - 1))
def test_permutation_has_every_number_once(count: int, key: int) -> None:
    assert sorted(permutation(count, key).tolist()) == list(range(count))


def test_mixed_numbers_are_distinct_and_even() -> None:
    values = mixed(np.arange(100_000), key_of("x"))
    assert len(np.unique(values)) == 100_000
    counts = np.bincount((values >> np.uint64(60)).astype(np.int64))
    assert counts.min() > 6000
    assert counts.max() < 6500


def test_keys_may_differ_by_number() -> None:
    keys = np.array([1, 2, 1], np.uint64)
    values = mixed(np.array([5, 5, 5]), keys)
    assert values[0] == values[2] == mixed(np.array([5]), 1)[0] != values[1]


KEY = 12444202034427101082
TEXT = 16761825136014972648
MIXED = [15839785061582574730, 10905525725756348110]
ORDER = [4, 1, 0, 5, 3, 2]
