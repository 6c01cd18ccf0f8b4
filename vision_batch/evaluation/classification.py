"""How good labels are: one class per image."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.evaluation.classification_tally import NOT_LISTED, ClassificationFacts, ClassificationTally
from vision_batch.evaluation.ragged import first_of_each, flattened, floats, scores_beside
from vision_batch.evaluation.score_keys import score_keys
from vision_batch.evaluation.scores import SortedKeys
from vision_batch.evaluation.vocabulary import Vocabulary

SMALLEST: Final = float(np.finfo(np.float32).eps)
"""A probability counts as this at least, as scikit-learn's log loss has it for float32."""


class ClassificationMeasure:
    """Of `label`, and of `score`, `top_labels` and `top_scores` where the table has them."""

    prediction_columns: ClassVar[tuple[str, ...]] = ("label",)
    optional_columns: ClassVar[tuple[str, ...]] = ("score", "top_labels", "top_scores")
    truth_column: ClassVar[str] = "label"

    def __init__(self, labels: tuple[str, ...] | None = None) -> None:
        self._vocabulary = Vocabulary(labels)
        self._sorted = SortedKeys()

    def facts(self, rows: pa.Table) -> ClassificationFacts:
        truth = self._vocabulary.true(rows["truth"])
        predicted = self._vocabulary.predicted(rows["label"])
        score = (
            floats(rows["score"], "score") if "score" in rows.column_names else np.full(len(truth), np.nan, np.float32)
        )
        listed, labels, scores = self._lists(rows, predicted, score)
        image = np.repeat(np.arange(len(truth)), listed)
        is_true = labels == truth[image]
        place = np.full(len(truth), NOT_LISTED)
        place[predicted == truth] = 0
        place[image[is_true]] = (np.arange(len(image)) - np.repeat(np.cumsum(listed) - listed, listed))[is_true]
        return ClassificationFacts(
            truth=truth,
            predicted=predicted,
            score=score,
            place=place,
            probability=_probability(listed, image, scores, is_true, score=score, is_right=predicted == truth),
            listed=listed,
            keys=score_keys(labels, scores, is_true),
        )

    def tally(self, *, is_resample: bool = False, share: int = 1) -> ClassificationTally:
        return ClassificationTally(self._vocabulary, self._sorted, is_resample=is_resample, share=share)

    def _lists(
        self, rows: pa.Table, predicted: NDArray[np.int64], score: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """How many classes are listed for each image, which, and their scores: the best one alone without lists."""
        if {"top_labels", "top_scores"} <= set(rows.column_names):
            listed, names = flattened(rows["top_labels"], "top_labels")
            labels, scores = self._vocabulary.predicted(names), scores_beside(rows["top_scores"], listed, "top_scores")
            once = first_of_each(listed, labels)
            image = np.repeat(np.arange(len(listed)), listed)[once]
            return np.bincount(image, minlength=len(listed)), labels[once], scores[once]
        is_listed = (predicted >= 0) & ~np.isnan(score)
        return is_listed.astype(np.int64), predicted[is_listed], score[is_listed]


def _probability(
    listed: NDArray[np.int64],
    image: NDArray[np.int64],
    scores: NDArray[np.float32],
    is_true: NDArray[np.bool_],
    *,
    score: NDArray[np.float32],
    is_right: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """The score of the true class (n,). One that is not listed gets what the others leave of 1, but not more than the
    least of them has; where none is listed, the prediction alone is known."""
    left = np.where(is_right, score, np.minimum(1 - score, score)).astype(np.float64)
    some = listed > 0
    last = (np.cumsum(listed) - 1)[some]
    left[some] = np.minimum(1 - np.bincount(image, scores, len(listed))[some], scores[last])
    left[image[is_true]] = scores[is_true]
    return np.clip(np.nan_to_num(left), SMALLEST, 1).astype(np.float32)
