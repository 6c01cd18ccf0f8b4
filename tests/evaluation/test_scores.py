"""Counting scores: what comes out is what scikit-learn says, and memory does not grow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from vision_batch.evaluation.score_keys import score_keys
from vision_batch.evaluation.scores import ScoreTally, SortedKeys

FLOATS = st.floats(width=32, allow_nan=False) | st.sampled_from(
    [0.0, 0.5, 1.0, -0.0, 2.0, float(np.float32(1 - 2**-24))]
)


def tallied(
    groups: np.ndarray, scores: np.ndarray, positive: np.ndarray, most: int = 1 << 20, pieces: int = 3
) -> ScoreTally:
    tally = ScoreTally(most=most)
    for some in np.array_split(np.arange(len(groups)), pieces):
        tally.add(score_keys(groups[some], scores[some], positive[some]))
    return tally


@given(st.lists(FLOATS, min_size=1, max_size=50))
def test_scores_come_back_as_they_were_from_the_highest_to_the_lowest(values: list[float]) -> None:
    scores = np.array(values, np.float32)
    ranked = tallied(np.zeros(len(scores), np.int64), scores, np.ones(len(scores), bool)).ranked()
    expected, counts = np.unique(scores, return_counts=True)
    assert ranked.scores.tolist() == expected[::-1].tolist()
    assert ranked.positives.tolist() == counts[::-1].tolist()
    assert ranked.lost_bits == 0


@pytest.mark.parametrize("distinct", [4, 10_000])
def test_average_precision_and_auc_are_those_of_scikit_learn(distinct: int) -> None:
    random = np.random.default_rng(distinct)
    groups = random.integers(0, 3, 3000)
    scores = (random.integers(0, distinct, 3000) / distinct).astype(np.float32)
    positive = random.random(3000) < 0.2 + 0.5 * scores
    ranked = tallied(groups, scores, positive).ranked()
    precisions, areas = ranked.average_precision(4), ranked.roc_auc(4)
    for group in range(3):
        own = groups == group
        assert precisions[group] == pytest.approx(average_precision_score(positive[own], scores[own]))
        assert areas[group] == pytest.approx(roc_auc_score(positive[own], scores[own]))
        entries = ranked.of(group)
        recall = ranked.above[entries] / positive[own].sum()
        precision = ranked.above[entries] / (ranked.above[entries] + ranked.below[entries])
        expected = precision_recall_curve(positive[own], scores[own], drop_intermediate=False)
        assert precision[::-1] == pytest.approx(expected[0][:-1])
        assert recall[::-1] == pytest.approx(expected[1][:-1])
        assert ranked.scores[entries][::-1].tolist() == expected[2].tolist()
    assert np.isnan([precisions[3], areas[3]]).all()


def test_without_positives_or_without_negatives_there_is_nothing_to_say() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.6], np.float32)
    ranked = tallied(np.array([0, 0, 1, 1]), scores, np.array([False, False, True, True])).ranked()
    assert np.isnan(ranked.roc_auc(2)).all()
    assert np.isnan(ranked.average_precision(2)[0])
    assert ranked.average_precision(2)[1] == 1
    assert ScoreTally().ranked().average_precision(2).tolist() == pytest.approx([np.nan] * 2, nan_ok=True)


def test_what_was_not_listed_scores_less_than_everything_that_was() -> None:
    random = np.random.default_rng(0)
    scores, positive = random.random(500).astype(np.float32), random.random(500) < 0.3
    listed = scores > 0.4
    tally = tallied(np.zeros(listed.sum(), np.int64), scores[listed], positive[listed])
    ranked = tally.ranked(np.array([positive.sum(), 2]), np.array([(~positive).sum(), 0]))
    floor = np.where(listed, scores, -1)
    assert ranked.average_precision(2)[0] == pytest.approx(average_precision_score(positive, floor))
    assert ranked.roc_auc(2)[0] == pytest.approx(roc_auc_score(positive, floor))
    assert ranked.average_precision(2)[1] == 1


def test_weights_count_an_entry_more_than_once() -> None:
    random = np.random.default_rng(1)
    scores, positive, weights = (
        random.random(200).astype(np.float32),
        random.random(200) < 0.5,
        random.integers(0, 4, 200),
    )
    tally = ScoreTally()
    keys = score_keys(np.zeros(200, np.int64), scores, positive)
    for some in (slice(0, 100), slice(100, 200)):
        tally.add_runs(*SortedKeys().weighted(keys[some], np.ones(100, np.int64), weights[some]))
    expected = average_precision_score(positive, scores, sample_weight=weights)
    assert tally.ranked().average_precision(1)[0] == pytest.approx(expected)


def test_with_too_many_scores_they_are_rounded_and_little_is_lost() -> None:
    random = np.random.default_rng(2)
    logits = random.normal(0, 8, 200_000)
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    positive = random.random(len(scores)) < 1 / (1 + np.exp(-logits / 2))
    groups = random.integers(0, 2, len(scores))
    tally = tallied(groups, scores, positive, most=4000, pieces=50)
    ranked = tally.ranked()
    assert 0 < len(ranked.scores) <= 4000
    assert ranked.lost_bits > 0
    assert (ranked.positives.sum(), ranked.negatives.sum()) == (positive.sum(), (~positive).sum())
    for group in range(2):
        own = groups == group
        ties = ranked.of(group)
        pairs = ranked.positives[ties] @ ranked.negatives[ties] / (positive[own].sum() * (~positive[own]).sum())
        assert abs(ranked.roc_auc(2)[group] - roc_auc_score(positive[own], scores[own])) <= pairs / 2
        exact = average_precision_score(positive[own], scores[own])
        assert ranked.average_precision(2)[group] == pytest.approx(exact, abs=1e-3)
