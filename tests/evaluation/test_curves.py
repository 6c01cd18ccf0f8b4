"""Curves keep their shape when points are left out."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import auc

from vision_batch.evaluation.curves import MOST_POINTS, ranking_curves, thinned
from vision_batch.evaluation.score_keys import score_keys
from vision_batch.evaluation.scores import ScoreTally


def test_few_points_all_stay() -> None:
    assert thinned(np.arange(5.0), np.zeros(5)).tolist() == [0, 1, 2, 3, 4]


def test_of_many_points_some_stay_and_the_ends_do() -> None:
    x = np.linspace(0, 1, 10_000) ** 4
    kept = thinned(x, np.sqrt(x))
    assert len(kept) <= MOST_POINTS
    assert (kept[0], kept[-1]) == (0, 9999)
    assert np.diff(x[kept]).max() < 0.01


def test_the_area_under_a_thinned_curve_is_that_of_the_whole() -> None:
    random = np.random.default_rng(0)
    positive = random.random(50_000) < 0.3
    scores = (random.random(50_000) / 2 + positive * random.random(50_000) / 2).astype(np.float32)
    tally = ScoreTally()
    tally.add(score_keys(np.zeros(50_000, np.int64), scores, positive))
    ranked = tally.ranked()
    roc, found = ranking_curves(ranked, 0, "a")
    assert len(roc.x) <= MOST_POINTS
    assert abs(auc(roc.x, roc.y) - ranked.roc_auc(1)[0]) < 1e-3
    assert abs(auc(found.x, found.y) - ranked.average_precision(1)[0]) < 2e-3


def test_a_group_without_positives_has_no_curves() -> None:
    tally = ScoreTally()
    tally.add(score_keys(np.zeros(3, np.int64), np.ones(3, np.float32), np.zeros(3, bool)))
    assert not list(ranking_curves(tally.ranked(), 0, "a"))
    assert not list(ranking_curves(tally.ranked(), 1, "b"))
