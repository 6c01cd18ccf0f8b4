"""How far values would move if there were other images: 95 % intervals by the bootstrap (Efron, 1979).

The images are drawn anew, as many as there are, with replacement, and everything is measured again; the interval is
what lies between the percentiles. Of very many images a sample is resampled. Of what its values deviate from its own
the mean, a bias, shrinks in proportion to the images (Efron and Tibshirani, 1993), and what is around it with their
square root: they are scaled by how much larger the whole is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.measure import F, Measure, Value

ENDS: Final = (2.5, 97.5)
FEWEST_SAMPLED: Final = 100
"""Of a sample that is not the whole, fewer images tell nothing."""

Intervals: TypeAlias = dict[tuple[str, str | None], tuple[float, float]]


def intervals(
    measure: Measure[F], facts: F, *, images: int, values: Sequence[Value], resamples: int, seed: int
) -> Intervals:
    """Low and high by metric and label, of those `values` of all `images` that a sample's `facts` can tell of.

    None for what is not defined in most of the resamples.
    """
    count = len(facts)
    if not resamples or count < 2 or (count < images and count < FEWEST_SAMPLED):
        return {}
    own = _measured(measure, facts, np.ones(count, np.int64))
    place = {key: index for index, key in enumerate(own)}
    found = np.full((resamples, len(own)), np.nan)
    random = np.random.default_rng(seed)
    for row in found:
        weights = np.bincount(random.integers(0, count, count), minlength=count)
        for key, value in _measured(measure, facts, weights).items():
            if key in place:
                row[place[key]] = value
    return {
        (value.metric, value.label): (value.value + low, value.value + high)
        for value in values
        if value.value is not None and (at := place.get((value.metric, value.label))) is not None
        for deviations in [found[:, at] - own[value.metric, value.label]]
        if (is_defined := ~np.isnan(deviations)).mean() > 0.5
        for low, high in [_ends(deviations[is_defined], count / images)]
    }


def _ends(deviations: NDArray[np.float64], share: float) -> list[float]:
    """Of an interval, by what resamples of a `share` of the images deviate (n,)."""
    bias = deviations.mean()
    ends: list[float] = (bias * share + (np.percentile(deviations, ENDS) - bias) * np.sqrt(share)).tolist()
    return ends


def _measured(measure: Measure[F], facts: F, weights: np.ndarray) -> dict[tuple[str, str | None], float]:
    tally = measure.tally(is_resample=True)
    tally.add(facts, weights)
    return {(each.metric, each.label): each.value for each in tally.values() if each.value is not None}
