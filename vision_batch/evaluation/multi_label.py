"""How good labels are where an image has any number of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import ImageError, Problem, SpecError
from vision_batch.evaluation.class_counts import ClassCounts, counted
from vision_batch.evaluation.class_scores import ClassScores
from vision_batch.evaluation.measure import ConfusionCell, Curve, Value
from vision_batch.evaluation.ragged import first_of_each, flattened, rows_of, scores_beside
from vision_batch.evaluation.score_keys import POSITIVE_BITS, Keys, score_keys
from vision_batch.evaluation.scores import SortedKeys
from vision_batch.evaluation.vocabulary import Vocabulary
from vision_batch.tasks.multilabel import MultiLabel


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiLabelFacts:
    """Of n images: whether they failed; `true` class indices, `trues` (n,) an image; `predicted` ones and the keys of
    their scores, `listed` (n,) an image."""

    failed: NDArray[np.bool_]
    trues: NDArray[np.int64]
    true: NDArray[np.int64]
    listed: NDArray[np.int64]
    predicted: NDArray[np.int64]
    keys: Keys

    def __len__(self) -> int:
        return len(self.failed)

    def take(self, indices: NDArray[np.int64]) -> MultiLabelFacts:
        listed = rows_of(self.listed, indices)
        return MultiLabelFacts(
            failed=self.failed[indices],
            trues=self.trues[indices],
            true=self.true[rows_of(self.trues, indices)],
            listed=self.listed[indices],
            predicted=self.predicted[listed],
            keys=self.keys[listed],
        )

    @classmethod
    def merged(cls, several: Sequence[MultiLabelFacts]) -> MultiLabelFacts:
        return cls(
            failed=np.concatenate([facts.failed for facts in several]),
            trues=np.concatenate([facts.trues for facts in several]),
            true=np.concatenate([facts.true for facts in several]),
            listed=np.concatenate([facts.listed for facts in several]),
            predicted=np.concatenate([facts.predicted for facts in several]),
            keys=np.concatenate([facts.keys for facts in several]),
        )


class MultiLabelMeasure:
    """Of `labels`, and of `label_scores` where the table has them; a truth is a list, or a text as `a;b`."""

    prediction_columns: ClassVar[tuple[str, ...]] = ("labels",)
    optional_columns: ClassVar[tuple[str, ...]] = ("label_scores",)
    truth_column: ClassVar[str] = "labels"

    def __init__(self, labels: tuple[str, ...] | None = None) -> None:
        self._vocabulary = Vocabulary(labels)
        self._sorted = SortedKeys()

    def facts(self, rows: pa.Table) -> MultiLabelFacts:
        images, true = self._true(rows["truth"])
        listed, names = flattened(rows["labels"], "labels")
        predicted, scores = self._vocabulary.predicted(names), np.full(len(names), np.nan, np.float32)
        if "label_scores" in rows.column_names:
            scores = scores_beside(rows["label_scores"], listed, "label_scores")
        once = first_of_each(listed, predicted)
        image, predicted, scores = np.repeat(np.arange(len(listed)), listed)[once], predicted[once], scores[once]
        is_true = np.isin(_pairs(image, predicted), _pairs(images, true))
        return MultiLabelFacts(
            failed=np.asarray(rows["labels"].is_null(), np.bool_),
            trues=np.bincount(images, minlength=len(listed)),
            true=true,
            listed=np.bincount(image, minlength=len(listed)),
            predicted=predicted,
            keys=score_keys(predicted, scores, is_true),
        )

    def tally(self, *, is_resample: bool = False, share: int = 1) -> MultiLabelTally:
        return MultiLabelTally(self._vocabulary, self._sorted, share=share)

    def _true(self, truth: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Images and class indices of all that is true, by image, each pair once."""
        if not pa.types.is_nested(truth.type):
            truth = pa.chunked_array([_listed(truth)])
        trues, names = flattened(truth, "truth")
        pairs = np.unique(_pairs(np.repeat(np.arange(len(trues)), trues), self._vocabulary.true(names)))
        return (pairs >> 32), pairs & 0xFFFF_FFFF


class MultiLabelTally:
    """Counts and scores by class."""

    def __init__(self, vocabulary: Vocabulary, sorted_keys: SortedKeys, *, share: int) -> None:
        self._vocabulary = vocabulary
        self._counts = ClassCounts()
        self._scores = ClassScores(vocabulary, sorted_keys, share=share)
        self._images = 0
        self._exact = 0

    def add(self, facts: MultiLabelFacts, weights: NDArray[np.int64] | None = None) -> None:
        classes = len(self._vocabulary)
        count = np.ones(len(facts), np.int64) if weights is None else weights
        of_true, of_listed = np.repeat(count, facts.trues), np.repeat(count, facts.listed)
        is_right = (facts.keys & POSITIVE_BITS).astype(bool)
        self._counts.grow(classes)
        self._counts.add(
            counted(facts.true, of_true, classes),
            counted(facts.predicted, of_listed, classes),
            counted(facts.predicted[is_right], of_listed[is_right], classes),
        )
        judged = np.repeat(~facts.failed, facts.trues)
        self._scores.add(facts.keys, facts.listed, counted(facts.true[judged], of_true[judged], classes), weights)
        self._scores.images += int(count[~facts.failed].sum())
        image = np.repeat(np.arange(len(facts)), facts.listed)
        right = np.bincount(image[is_right], minlength=len(facts))
        is_exact = ~facts.failed & (right == facts.trues) & (right == facts.listed)
        self._images += int(count.sum())
        self._exact += int(count[is_exact].sum())

    def values(self) -> list[Value]:
        self._counts.grow(len(self._vocabulary))
        names = {"average_precision": "mean_average_precision", "roc_auc": "macro_roc_auc"}
        of_scores = list(self._scores.values(self._scores.ranked(), names))
        by_class = self._counts.by_class(self._vocabulary.names, self._vocabulary.order)
        return [*of_scores[:2], *self._exact_match(), *self._counts.averages(), *of_scores[2:], *by_class]

    def confusion(self) -> list[ConfusionCell]:
        return []

    def curves(self) -> list[Curve]:
        return self._scores.curves(self._scores.ranked())

    def notes(self) -> list[str]:
        return [*self._vocabulary.notes(), *self._scores.notes(self._scores.ranked())]

    def _exact_match(self) -> Iterator[Value]:
        value = self._exact / self._images if self._images else None
        yield Value(metric="exact_match", value=value, support=self._images)


def _pairs(images: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    return (images << 32) | labels


def _listed(truth: pa.ChunkedArray) -> pa.Array:
    """Texts as lists of names; SpecError for what is no text of that kind."""
    encoded = truth.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    lists = [_names(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(lists, pa.list_(pa.string())).take(encoded.indices)


def _names(value: Any) -> list[str] | None:
    try:
        return None if value is None else list(MultiLabel(score_threshold=0, labels=None).names(value))
    except ImageError as error:
        raise SpecError(Problem("truth", error.message, "the names of the image's classes")) from None
