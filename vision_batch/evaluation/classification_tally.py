"""What the facts about labels add up to: from accuracy to calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.calibration import Calibration
from vision_batch.evaluation.class_counts import ClassCounts, counted
from vision_batch.evaluation.class_scores import ClassScores
from vision_batch.evaluation.confusion import MOST_PAIRS, Confusion
from vision_batch.evaluation.measure import ConfusionCell, Curve, Value
from vision_batch.evaluation.ragged import rows_of
from vision_batch.evaluation.score_keys import Keys
from vision_batch.evaluation.scores import SortedKeys
from vision_batch.evaluation.vocabulary import Vocabulary

TOP: Final = (2, 3, 5, 10)
"""The k of top-k accuracy."""
NOT_LISTED: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationFacts:
    """Of n images: class indices of truth and prediction (-1: the image failed), the score of the prediction, the place
    of the truth in the list of best classes and its probability, and `keys` of each listed score, `listed` (n,) an
    image."""

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    score: NDArray[np.float32]
    place: NDArray[np.int64]
    probability: NDArray[np.float32]
    listed: NDArray[np.int64]
    keys: Keys

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, indices: NDArray[np.int64]) -> ClassificationFacts:
        return ClassificationFacts(
            truth=self.truth[indices],
            predicted=self.predicted[indices],
            score=self.score[indices],
            place=self.place[indices],
            probability=self.probability[indices],
            listed=self.listed[indices],
            keys=self.keys[rows_of(self.listed, indices)],
        )

    @classmethod
    def merged(cls, several: Sequence[ClassificationFacts]) -> ClassificationFacts:
        return cls(
            truth=np.concatenate([facts.truth for facts in several]),
            predicted=np.concatenate([facts.predicted for facts in several]),
            score=np.concatenate([facts.score for facts in several]),
            place=np.concatenate([facts.place for facts in several]),
            probability=np.concatenate([facts.probability for facts in several]),
            listed=np.concatenate([facts.listed for facts in several]),
            keys=np.concatenate([facts.keys for facts in several]),
        )


class ClassificationTally:
    """Counts by class, scores by class, and the sums that loss and calibration rest on."""

    def __init__(self, vocabulary: Vocabulary, sorted_keys: SortedKeys, *, is_resample: bool, share: int = 1) -> None:
        self._vocabulary = vocabulary
        self._is_resample = is_resample
        self._counts = ClassCounts()
        self._confusion = Confusion(most=MOST_PAIRS // share)
        self._scores = ClassScores(vocabulary, sorted_keys, share=share)
        self._calibration = Calibration()
        self._places = np.zeros(TOP[-1], np.int64)
        self._most_listed = 0
        self._loss = 0.0
        self._not_listed = 0

    def add(self, facts: ClassificationFacts, weights: NDArray[np.int64] | None = None) -> None:
        count = np.ones(len(facts), np.int64) if weights is None else weights
        self._counts.grow(len(self._vocabulary))
        classes, is_right = len(self._vocabulary), facts.predicted == facts.truth
        some = facts.predicted >= 0
        self._counts.add(
            counted(facts.truth, count, classes),
            counted(facts.predicted[some], count[some], classes),
            counted(facts.truth[is_right], count[is_right], classes),
        )
        if not self._is_resample:
            self._confusion.add(facts.truth, facts.predicted, weights)
        near = facts.place < len(self._places)
        self._places += counted(facts.place[near], count[near], len(self._places))
        self._most_listed = max(self._most_listed, int(facts.listed.max(initial=0)))
        has_scores = (facts.listed > 0) | ~np.isnan(facts.score)
        self._scores.add(
            facts.keys, facts.listed, counted(facts.truth[has_scores], count[has_scores], classes), weights
        )
        self._scores.images += int(count[has_scores].sum())
        self._loss -= float((np.log(facts.probability[has_scores], dtype=np.float64) * count[has_scores]).sum())
        self._not_listed += int(count[has_scores & (facts.place == NOT_LISTED)].sum())
        self._calibration.add(facts.score, is_right, count)

    def values(self) -> list[Value]:
        self._counts.grow(len(self._vocabulary))
        names = {"roc_auc": "macro_roc_auc", "average_precision": "macro_average_precision"}
        of_scores = self._scores.values(self._scores.ranked(), names)
        by_class = self._counts.by_class(self._vocabulary.names, self._vocabulary.order)
        return [*self._overall(), *of_scores, *by_class]

    def confusion(self) -> list[ConfusionCell]:
        return self._confusion.cells(self._vocabulary.names)

    def curves(self) -> list[Curve]:
        return [*self._scores.curves(self._scores.ranked()), *self._calibration.curves()]

    def notes(self) -> list[str]:
        found = {
            f"{self._not_listed:,} images list their true class nowhere: it got what the listed scores leave, so that "
            "log_loss is at least what it says": self._not_listed,
            "some scores are not between 0 and 1: there is no log_loss and no calibration": self._calibration.strange,
            "the rarest pairs of the confusion matrix were forgotten": not self._confusion.is_exact,
        }
        noted = (*self._vocabulary.notes(), *self._scores.notes(self._scores.ranked()))
        return [*noted, *(note for note, is_so in found.items() if is_so)]

    def _overall(self) -> Iterator[Value]:
        counts = self._counts
        images, right = int(counts.true.sum()), int(counts.right.sum())
        yield Value(metric="accuracy", value=right / images if images else None, support=images)
        for k in TOP:
            if k <= self._most_listed and k < len(self._vocabulary):
                value = int(self._places[:k].sum()) / images if images else None
                yield Value(metric=f"top_{k}_accuracy", value=value, support=images)
        yield Value(metric="balanced_accuracy", value=counts.balanced_accuracy(), support=images)
        yield from counts.averages()
        yield Value(metric="cohen_kappa", value=_kappa(counts), support=images)
        judged = self._scores.images
        has_loss = judged and not self._calibration.strange
        yield Value(metric="log_loss", value=self._loss / judged if has_loss else None, support=judged)
        error = self._calibration.error()
        yield Value(metric="expected_calibration_error", value=error, support=self._calibration.images)


def _kappa(counts: ClassCounts) -> float | None:
    """Cohen's, 1960: the agreement beyond chance; None where chance alone would agree always."""
    images = int(counts.true.sum())
    if not images:
        return None
    chance = float(counts.true.astype(np.float64) @ counts.predicted) / images**2
    return (int(counts.right.sum()) / images - chance) / (1 - chance) if chance < 1 else None
