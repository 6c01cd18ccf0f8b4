"""Curves of ranked scores, and their points thinned to what a picture can show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.measure import Curve, CurveKind
from vision_batch.evaluation.scores import Ranked

MOST_POINTS: Final = 500


def ranking_curves(ranked: Ranked, group: int, label: str) -> Iterator[Curve]:
    """The ROC and the precision-recall curve of one group, where it has positives (and for ROC negatives).

    They begin, as scikit-learn's, at (0, 0) and at recall 0, precision 1, with an infinite threshold.
    """
    own = np.arange(*ranked.of(group).indices(len(ranked.groups)))
    own = own[ranked.positives[own] + ranked.negatives[own] > 0]
    above, below = ranked.above[own].astype(np.float64), ranked.below[own].astype(np.float64)
    thresholds = np.concatenate([[np.inf], ranked.scores[own]])
    if not len(above) or not above[-1]:
        return
    recall = np.concatenate([[0], above / above[-1]])
    if below[-1]:
        yield _curve("roc", np.concatenate([[0], below / below[-1]]), recall, thresholds, label)
    yield _curve("precision_recall", recall, np.concatenate([[1], above / (above + below)]), thresholds, label)


def _curve(
    kind: CurveKind, x: NDArray[np.float64], y: NDArray[np.float64], thresholds: NDArray[np.float64], label: str
) -> Curve:
    shown = thinned(x, y)
    return Curve(kind=kind, x=x[shown], y=y[shown], thresholds=thresholds[shown], label=label)


def thinned(x: NDArray[np.float64], y: NDArray[np.float64], most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Indices of at most `most` points about equally far from each other along the curve, its ends among them."""
    if len(x) <= most:
        return np.arange(len(x))
    way = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    return np.unique(np.append(np.searchsorted(way, np.linspace(0, way[-1], most - 1)), len(x) - 1))
