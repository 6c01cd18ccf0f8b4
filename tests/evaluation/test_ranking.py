"""Average precision from more objects than are held one by one: between what the bins allow, and hardly wrong."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vision_batch.evaluation.matching import VERDICTS
from vision_batch.evaluation.ranking import Ranking, average_precision


def added(ranking: Ranking, *, count: int, labels: int, batches: int) -> NDArray[np.int64]:
    """Random objects, better ones with higher scores; how many are right of each class, for any verdict."""
    random = np.random.default_rng(0)
    right_of_class = np.zeros(labels, np.int64)
    for _ in range(batches):
        label = random.integers(0, labels, count // batches).astype(np.int32)
        score = random.normal(0, 2, len(label)).astype(np.float32)
        right = np.repeat((random.random(len(label)) < 1 / (1 + np.exp(-score)))[:, None], VERDICTS, axis=1)
        counted = right | (random.random(right.shape) < 0.9)
        weight = random.integers(1, 3, len(label))
        ranking.add(label, score, weight, np.packbits(right, axis=1), np.packbits(counted, axis=1))
        right_of_class += np.bincount(label, right[:, 0] * weight, minlength=labels).astype(np.int64)
    return right_of_class


@pytest.mark.parametrize(("bins", "error"), [(60, 0.05), (6000, 0.001)])
def test_bins_hold_the_exact_precision_between_their_bounds(bins: int, error: float) -> None:
    exact, binned = Ranking(), Ranking(most=5000, bins=bins)
    right = added(exact, count=50_000, labels=3, batches=40)
    added(binned, count=50_000, labels=3, batches=40)
    for one, other in zip(exact.classes(), binned.classes(), strict=True):
        expected = np.full(VERDICTS, right[one.label] + 100)
        precise, same = average_precision(one, expected)
        np.testing.assert_array_equal(precise, same)
        low, high = average_precision(other, expected)
        assert one.label == other.label
        assert len(other.right) < bins
        assert (low <= precise + 1e-12).all()
        assert (high >= precise - 1e-12).all()
        assert (high - low).max() < error


def test_a_class_that_comes_late_gets_bins_too() -> None:
    ranking = Ranking(most=10, bins=100)
    for label in range(3):
        packed = np.full((20, VERDICTS // 8), 255, np.uint8)
        score = np.linspace(0, 1, 20, dtype=np.float32)
        ranking.add(np.full(20, label, np.int32), score, np.ones(20, np.int64), packed, packed)
    for ranked in ranking.classes():
        assert ranked.right[:, 0].sum() == 20
        low, high = average_precision(ranked, np.full(VERDICTS, 20))
        np.testing.assert_array_equal((low, high), np.ones((2, VERDICTS)))


def test_nothing_to_find_has_no_precision() -> None:
    ranking = Ranking()
    packed = np.zeros((1, VERDICTS // 8), np.uint8)
    ranking.add(np.zeros(1, np.int32), np.ones(1, np.float32), np.ones(1, np.int64), packed, packed)
    (ranked,) = ranking.classes()
    assert np.isnan(average_precision(ranked, np.zeros(VERDICTS, np.int64))).all()
