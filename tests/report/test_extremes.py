"""Extremes of a stream are those of its sorted whole, however it is cut into batches."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.report.extremes import Extremes

MENTIONS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.sampled_from([0.0, 0.25, 0.5, 1.0, -2.0])))


@given(MENTIONS, st.integers(1, 4), st.integers(1, 7))
def test_they_are_the_greatest_of_each_label_each_row_once(
    mentions: list[tuple[int, int, float]], most: int, batch: int
) -> None:
    mentions.sort(key=lambda mention: mention[1])  # a row's mentions are in one batch
    extremes = Extremes(most)
    rows = sorted({row for _, row, _ in mentions})
    for start in range(0, len(rows), batch):
        part = [mention for mention in mentions if mention[1] in rows[start : start + batch]]
        labels, places, keys = (np.array(column) for column in zip(*part, strict=True))
        extremes.add(labels.astype(np.int64), places.astype(np.int64), keys.astype(np.float32))
    for label in range(5):
        best: dict[int, float] = {}
        for named, row, key in mentions:
            if named == label:
                best[row] = max(key, best.get(row, key))
        assert extremes.rows(label) == sorted(best, key=lambda row: (-best[row], row))[:most]


def test_keys_that_are_no_numbers_are_passed_over() -> None:
    extremes = Extremes(2)
    extremes.add(np.zeros(3, np.int64), np.arange(3), np.array([np.nan, 0.5, np.nan]))
    assert extremes.rows() == [1]
    assert extremes.rows(7) == []


def test_random_keys_make_a_reservoir() -> None:
    """Each of 20 rows is among the 5 that are kept about a quarter of the time: 1,000 draws, 5 standard deviations."""
    random = np.random.default_rng(0)
    seen = np.zeros(20)
    for _ in range(1000):
        extremes = Extremes(5)
        for rows in np.arange(20, dtype=np.int64).reshape(4, 5):
            extremes.add(np.zeros(5, np.int64), rows, random.random(5))
        seen[extremes.rows()] += 1
    assert seen.sum() == 5000
    assert np.abs(seen - 250).max() < 5 * np.sqrt(1000 * 0.25 * 0.75)
