"""Whether scores are the odds of being right: the expected calibration error.

Guo et al., On Calibration of Modern Neural Networks, 2017: scores in 15 bins of equal width, each open below and closed
above; the mean over the images of the distance between their bin's mean score and the share of it that is right.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.measure import Curve

BINS: Final = 15


class Calibration:
    """Sums by bin. Images without a score are passed over; with scores that are no odds there is no error to tell."""

    def __init__(self) -> None:
        self._images = np.zeros(BINS)
        self._right = np.zeros(BINS)
        self._scores = np.zeros(BINS)
        self.strange = 0

    def add(self, scores: NDArray[np.float32], right: NDArray[np.bool_], weights: NDArray[np.int64]) -> None:
        """Takes in the scores (n,) of the predictions, and whether they are right."""
        self.strange += int(((scores < 0) | (scores > 1)).sum())
        odds = (scores >= 0) & (scores <= 1)
        score, weight = scores[odds].astype(np.float64), weights[odds]
        place = np.maximum(np.ceil(score * BINS).astype(np.int64) - 1, 0)
        self._images += np.bincount(place, weight, BINS)
        self._right += np.bincount(place, weight * right[odds], BINS)
        self._scores += np.bincount(place, weight * score, BINS)

    @property
    def images(self) -> int:
        """How many had a score."""
        return int(self._images.sum())

    def error(self) -> float | None:
        """Between 0 and 1; None without scores, or where some are not between 0 and 1."""
        if self.strange or not self.images:
            return None
        return float(np.abs(self._right - self._scores).sum() / self._images.sum())

    def curves(self) -> list[Curve]:
        """One, of the bins that have images."""
        some = np.flatnonzero(self._images)
        if self.strange or not len(some):
            return []
        images = self._images[some]
        x, y = self._scores[some] / images, self._right[some] / images
        return [Curve(kind="calibration", x=x, y=y, thresholds=images)]
