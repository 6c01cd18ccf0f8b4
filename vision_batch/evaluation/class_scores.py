"""Each class against all others, by score: average precision, areas and curves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.curves import ranking_curves
from vision_batch.evaluation.measure import Curve, Value
from vision_batch.evaluation.score_keys import Keys
from vision_batch.evaluation.scores import MOST, Ranked, ScoreTally, SortedKeys
from vision_batch.evaluation.vocabulary import Vocabulary

MOST_CURVES: Final = 20
"""Classes whose curves are kept: those that most images have."""


class ClassScores:
    """Scores of images that have some; a class that is not listed for an image scores less than those that are."""

    def __init__(self, vocabulary: Vocabulary, sorted_keys: SortedKeys, *, share: int) -> None:
        self._vocabulary = vocabulary
        self._sorted_keys = sorted_keys
        self._tally = ScoreTally(most=MOST // share)
        self._positives = np.zeros(0, np.int64)
        self.images = 0

    def add(
        self, keys: Keys, listed: NDArray[np.int64], positives: NDArray[np.int64], weights: NDArray[np.int64] | None
    ) -> None:
        """Takes in the keys (E,) of n images, `listed` (n,) of each, that count as often as `weights` (n,) says; of
        each class `positives` (C,) have it."""
        if weights is None:
            self._tally.add(keys)
        else:
            self._tally.add_runs(*self._sorted_keys.weighted(keys, listed, weights))
        self._grow()
        self._positives += positives

    def ranked(self) -> Ranked:
        """All scores, by class."""
        self._grow()
        return self._tally.ranked(self._positives, self.images - self._positives)

    def values(self, ranked: Ranked, names: dict[str, str]) -> Iterator[Value]:
        """The means of the classes, under the `names` of average_precision and roc_auc, and then those of the classes;
        of the ones where it is defined."""
        classes = len(self._positives)
        measured = {"average_precision": ranked.average_precision(classes), "roc_auc": ranked.roc_auc(classes)}
        for metric, values in measured.items():
            some = values[~np.isnan(values)]
            yield Value(metric=names[metric], value=float(some.mean()) if len(some) else None, support=self.images)
        labels = self._vocabulary.names
        for metric, values in measured.items():
            for index in self._vocabulary.order:
                if not np.isnan(values[index]):
                    support = int(self._positives[index])
                    yield Value(metric=metric, label=labels[index], value=float(values[index]), support=support)

    def curves(self, ranked: Ranked) -> list[Curve]:
        """Of the classes that most images have, the largest first."""
        order = np.argsort(-self._positives, kind="stable").tolist()
        most = [index for index in order if self._positives[index]][:MOST_CURVES]
        labels = self._vocabulary.names
        return [curve for index in most for curve in ranking_curves(ranked, index, labels[index])]

    def notes(self, ranked: Ranked) -> Iterator[str]:
        """Whether all is exact."""
        if ranked.lost_bits:
            kept = 24 - ranked.lost_bits
            yield f"scores were rounded to {kept} of 24 bits: ROC and precision-recall are close, not exact"

    def _grow(self) -> None:
        """All tallies share one vocabulary, which another one's images may have made larger."""
        more = len(self._vocabulary) - len(self._positives)
        if more:
            self._positives = np.pad(self._positives, (0, more))
