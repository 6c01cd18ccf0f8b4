"""Pairs of classes are counted exactly while they fit."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.evaluation.confusion import Confusion

NAMES = ["a", "b", "c"]
INDEX = st.integers(-1, 2)


@given(st.lists(st.lists(st.tuples(INDEX, INDEX), max_size=20), max_size=5))
def test_every_pair_is_counted_however_the_batches_are_cut(batches: list[list[tuple[int, int]]]) -> None:
    confusion = Confusion()
    for batch in batches:
        pairs = np.array(batch, np.int64).reshape(-1, 2)
        confusion.add(pairs[:, 0], pairs[:, 1])
    every = [*NAMES, None]
    expected = Counter((every[truth], every[predicted]) for batch in batches for truth, predicted in batch)
    cells = confusion.cells(NAMES)
    assert {(cell.truth, cell.predicted): cell.count for cell in cells} == expected
    assert [cell.count for cell in cells] == sorted(expected.values(), reverse=True)
    assert confusion.is_exact


def test_of_too_many_pairs_the_most_frequent_stay() -> None:
    confusion = Confusion(most=10)
    for _ in range(5):
        confusion.add(np.arange(4), np.arange(4))
    confusion.add(np.arange(100), np.arange(100))
    cells = confusion.cells([str(index) for index in range(100)])
    assert len(cells) <= 10
    assert [(cell.truth, cell.count) for cell in cells[:4]] == [("0", 6), ("1", 6), ("2", 6), ("3", 6)]
    assert not confusion.is_exact
