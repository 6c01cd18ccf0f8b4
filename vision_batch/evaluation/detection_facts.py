"""What detection measures need of each image, and its tally: COCO's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.matching import AREAS, THRESHOLDS, VERDICTS, Verdicts
from vision_batch.evaluation.ranking import (
    BINS,
    MOST_EXACT,
    Ranking,
    average_precision,
    nothing_found,
    precision_at_recalls,
)

MOST_FOUND: Final = (1, 10, 100)
"""COCO counts what is found among so many objects of an image and class."""
SHAPE: Final = len(AREAS), len(THRESHOLDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionFacts:
    """The verdicts about `images` images, in columns in the order of images; verdicts are packed, 8 to a byte."""

    images: int
    image: NDArray[np.int64]
    label: NDArray[np.int32]
    score: NDArray[np.float32]
    rank: NDArray[np.uint8]
    right: NDArray[np.uint8]
    counted: NDArray[np.uint8]
    truth_image: NDArray[np.int64]
    truth_label: NDArray[np.int32]
    expected: NDArray[np.int32]

    def __len__(self) -> int:
        return self.images

    @classmethod
    def of(cls, verdicts: Verdicts, images: int) -> DetectionFacts:
        return cls(
            images=images,
            image=verdicts.image,
            label=verdicts.label.astype(np.int32),
            score=verdicts.score,
            rank=verdicts.rank.astype(np.uint8),
            right=np.packbits(verdicts.right, axis=1),
            counted=np.packbits(verdicts.counted, axis=1),
            truth_image=verdicts.truth_image,
            truth_label=verdicts.truth_label.astype(np.int32),
            expected=verdicts.expected.astype(np.int32),
        )

    def take(self, indices: NDArray[np.int64]) -> DetectionFacts:
        """The facts of these images, which get the numbers 0, 1, …"""
        image, found = _rows_of(self.image, self.images, indices)
        truth_image, truth = _rows_of(self.truth_image, self.images, indices)
        return DetectionFacts(
            images=len(indices),
            image=image,
            label=self.label[found],
            score=self.score[found],
            rank=self.rank[found],
            right=self.right[found],
            counted=self.counted[found],
            truth_image=truth_image,
            truth_label=self.truth_label[truth],
            expected=self.expected[truth],
        )

    @classmethod
    def merged(cls, several: Sequence[DetectionFacts]) -> DetectionFacts:
        """All of them, one after the other."""
        before = np.cumsum([0, *(each.images for each in several)])
        return cls(
            images=int(before[-1]),
            image=np.concatenate([each.image + first for each, first in zip(several, before, strict=False)]),
            label=np.concatenate([each.label for each in several]),
            score=np.concatenate([each.score for each in several]),
            rank=np.concatenate([each.rank for each in several]),
            right=np.concatenate([each.right for each in several]),
            counted=np.concatenate([each.counted for each in several]),
            truth_image=np.concatenate([each.truth_image + at for each, at in zip(several, before, strict=False)]),
            truth_label=np.concatenate([each.truth_label for each in several]),
            expected=np.concatenate([each.expected for each in several]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """Of one class: `precision` (4, 10), COCO's AP for each range of areas and each threshold, and `recall`
    (3, 4, 10) for each of MOST_FOUND besides; nan where nothing is to be found. `expected` (4,) is how many are.

    `precision_error` is how far a precision may be off because scores were binned, 0 when they were not.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    expected: NDArray[np.int64]
    precision_error: float


class DetectionSums:
    """Adds facts up, of any number of images in bounded memory (see `Ranking`)."""

    def __init__(self, *, most: int = MOST_EXACT, bins: int = BINS) -> None:
        self._ranking = Ranking(most=most, bins=bins)
        self._expected = np.zeros((0, len(AREAS)), np.int64)
        self._found = np.zeros((len(MOST_FOUND), 0, VERDICTS), np.int64)

    def add(self, facts: DetectionFacts, weights: NDArray[np.int64] | None = None) -> None:
        """Takes every image in as often as `weights` (images,) says, once by default."""
        counts = np.ones(facts.images, np.int64) if weights is None else weights
        self._grow(1 + int(max(facts.label.max(initial=-1), facts.truth_label.max(initial=-1))))
        np.add.at(self._expected, facts.truth_label, facts.expected * counts[facts.truth_image][:, None])
        weight = counts[facts.image]
        some = np.flatnonzero(weight)
        label, weight, right = facts.label[some], weight[some], facts.right[some]
        self._ranking.add(label, facts.score[some], weight, right, facts.counted[some])
        self._add_found(label, weight, facts.rank[some], right)

    def classes(self) -> dict[int, ClassResult]:
        """The result for each class that was found or is to be found."""
        results = {}
        ranked = {each.label: average_precision(each, self._to_find(each.label)) for each in self._ranking.classes()}
        for label in range(len(self._expected)):
            to_find = self._to_find(label)
            nothing = np.where(to_find > 0, 0.0, np.nan)
            low, high = ranked.get(label, (nothing, nothing))
            if label not in ranked and not to_find.any():
                continue
            recall = np.divide(
                self._found[:, label], to_find, out=np.full((len(MOST_FOUND), VERDICTS), np.nan), where=to_find > 0
            )
            results[label] = ClassResult(
                precision=((low + high) / 2).reshape(SHAPE),
                recall=recall.reshape(len(MOST_FOUND), *SHAPE),
                expected=self._expected[label],
                precision_error=float(np.nanmax(high - low, initial=0) / 2),
            )
        return results

    def curves(self) -> dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """For each class that is to be found, precision and score (101,) at the RECALLS, from an IoU of 0.5 on."""
        ranked = {each.label: each for each in self._ranking.classes()}
        return {
            label: precision_at_recalls(ranked.get(label, nothing_found(label)), int(expected), 0)
            for label, expected in enumerate(self._expected[:, 0])
            if expected
        }

    def _add_found(
        self, label: NDArray[np.int32], weight: NDArray[np.int64], rank: NDArray[np.uint8], right: NDArray[np.uint8]
    ) -> None:
        matched = np.flatnonzero(right.any(axis=1))
        row, verdict = np.nonzero(np.unpackbits(right[matched], axis=1))
        place = matched[row]
        key = label[place] * np.int64(VERDICTS) + verdict
        for found, most in zip(self._found, MOST_FOUND, strict=True):
            among = rank[place] < most
            counts = np.bincount(key[among], weight[place[among]], minlength=found.size)
            found += counts.astype(np.int64).reshape(found.shape)

    def _to_find(self, label: int) -> NDArray[np.int64]:
        return np.repeat(self._expected[label], len(THRESHOLDS))

    def _grow(self, labels: int) -> None:
        more = labels - len(self._expected)
        if more > 0:
            self._expected = np.pad(self._expected, ((0, more), (0, 0)))
            self._found = np.pad(self._found, ((0, 0), (0, more), (0, 0)))


def _rows_of(
    image: NDArray[np.int64], images: int, indices: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For rows in the order of `image`: those of the images `indices`, and their new images' numbers first."""
    first = np.searchsorted(image, np.arange(images + 1))
    size = np.diff(first)[indices]
    rows = np.repeat(first[:-1][indices] - (np.cumsum(size) - size), size) + np.arange(size.sum())
    return np.repeat(np.arange(len(indices)), size), rows
