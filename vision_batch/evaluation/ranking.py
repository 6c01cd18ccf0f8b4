"""Objects that were found, of all images, in the order of their scores: one by one, or in bins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.matching import VERDICTS

MOST_EXACT: Final = 1 << 22
"""Objects that are held one by one, 26 bytes each."""
BINS: Final = 1 << 17
"""What they become when there are more, 640 bytes each."""
UNPACKED: Final = 1 << 16
"""Objects whose verdicts are unpacked at the same time, 320 bytes each for the counts."""
RECALLS: Final[NDArray[np.float64]] = np.linspace(0, 1, 101)
"""COCO's points of recall, at which precision is averaged."""
_SCORE_BITS: Final = np.uint64(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Objects of one class from the highest score to the lowest.

    A row of `right` and `wrong` (n, VERDICTS) is one object, times the weight of its image, or all objects of one bin,
    whose order is not known unless `is_exact`. `score` (n,) is the object's, or the highest of the bin.
    """

    label: int
    is_exact: bool
    score: NDArray[np.float32]
    right: NDArray[np.int64]
    wrong: NDArray[np.int64]


def nothing_found(label: int) -> Ranked:
    """The objects of a class of which there are none."""
    none = np.empty((0, VERDICTS), np.int64)
    return Ranked(label=label, is_exact=True, score=np.empty(0, np.float32), right=none, wrong=none)


class Ranking:
    """Takes objects in, batch by batch.

    Up to `most` objects are kept as they are. When there are more, the scores of those cut each class into bins that
    hold about equally many of them, in all about `bins`; from then on only the bins' counts are kept.
    """

    def __init__(self, *, most: int = MOST_EXACT, bins: int = BINS) -> None:
        self._most = most
        self._bins = bins
        self._held: list[_Held] = []
        self._held_count = 0
        self._edges = np.empty(0, np.uint64)  # the first key of each bin, ascending
        self._right = np.empty((0, VERDICTS), np.int64)
        self._counted = np.empty((0, VERDICTS), np.int64)

    def add(
        self,
        label: NDArray[np.int32],
        score: NDArray[np.float32],
        weight: NDArray[np.int64],
        right: NDArray[np.uint8],
        counted: NDArray[np.uint8],
    ) -> None:
        """Objects (n,) with their packed verdicts (n, 5); those of one image in the order that ties are to have."""
        self._held.append(_Held(key=_keys(label, score), weight=weight, right=right, counted=counted))
        self._held_count += len(label)
        if self._held_count > self._most:
            self._fold()

    def classes(self) -> Iterator[Ranked]:
        """Each class that anything was found of."""
        if len(self._edges):
            self._fold()
            wrong = self._counted - self._right
            for label, some in _classes(self._edges):
                score = _scores(self._edges[some])
                right = self._right[some]
                yield Ranked(label=label, is_exact=False, score=score, right=right, wrong=wrong[some])
            return
        held = _merged(self._held)
        for label, some in _classes(held.key):
            right, counted = held.unpacked(some)
            score = _scores(held.key[some])
            yield Ranked(label=label, is_exact=True, score=score, right=right, wrong=counted - right)

    def _fold(self) -> None:
        """What is held goes into bins."""
        held = _merged(self._held)
        self._held, self._held_count = [], 0
        self._add_bins(held.key)
        place = np.searchsorted(self._edges, held.key, side="right") - 1
        for first in range(0, len(place), UNPACKED):
            some = slice(first, first + UNPACKED)
            bins, starts = np.unique(place[some], return_index=True)
            right, counted = held.unpacked(some)
            self._right[bins] += np.add.reduceat(right, starts, axis=0)
            self._counted[bins] += np.add.reduceat(counted, starts, axis=0)

    def _add_bins(self, keys: NDArray[np.uint64]) -> None:
        """Bins for the classes that have none yet, as the sorted `keys` suggest."""
        known = {label for label, _ in _classes(self._edges)}
        new = [keys[some] for label, some in _classes(keys) if label not in known]
        edges = [self._edges]
        for some in new:
            count = max(1, self._bins * len(some) // len(keys))
            edges.append(some[np.linspace(0, len(some) - 1, count).astype(np.int64)])
            edges.append(some[:1] >> _SCORE_BITS << _SCORE_BITS)  # the highest score there can be
        merged = np.unique(np.concatenate(edges))
        place = np.searchsorted(merged, self._edges)
        for name in ("_right", "_counted"):
            grown = np.zeros((len(merged), VERDICTS), np.int64)
            grown[place] = getattr(self, name)
            setattr(self, name, grown)
        self._edges = merged


def average_precision(ranked: Ranked, expected: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """COCO's average precision for each verdict (VERDICTS,), lowest and highest for what is known of the order.

    The two are the same unless objects are in bins. `expected` (VERDICTS,) is how many there are to be found; where
    that is 0 both are nan. Precision is made to fall with recall and averaged at the RECALLS, 0 at those not reached.
    """
    low, high = (np.where(expected > 0, 0.0, np.nan) for _ in range(2))
    all_right, all_wrong = _condensed(ranked) if ranked.is_exact else (ranked.right, ranked.wrong)
    columns = np.flatnonzero(expected)
    at_once = max(1, (1 << 20) // max(1, len(all_right)))
    for some in np.array_split(columns, range(at_once, len(columns), at_once)):
        right, wrong = all_right[:, some], all_wrong[:, some]
        rights, wrongs = right.cumsum(axis=0), wrong.cumsum(axis=0)
        reached = np.searchsorted(RECALLS, rights / expected[some], side="right")
        gained = np.diff(reached, axis=0, prepend=0)
        low[some] = (_falling(rights, wrongs) * gained).sum(axis=0) / len(RECALLS)
        if not ranked.is_exact:
            high[some] = (_falling(rights, wrongs - wrong) * gained).sum(axis=0) / len(RECALLS)
    return low, low if ranked.is_exact else high


def _condensed(ranked: Ranked) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`right` and `wrong` of objects that any verdict calls right, each with the wrong ones in front of it.

    That changes no precision: from the one that is right on it is the same, and in front of it never higher.
    """
    rows = np.flatnonzero(ranked.right.any(axis=1))
    if not len(rows):
        return ranked.right[:0], ranked.wrong[:0]
    first = np.append(0, rows[:-1] + 1)
    return ranked.right[rows], np.add.reduceat(ranked.wrong[: rows[-1] + 1], first, axis=0)


def precision_at_recalls(
    ranked: Ranked, expected: int, verdict: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The precision (101,) that is averaged, at the RECALLS, for one verdict; and the scores there, nan if not reached.

    Of objects in bins it is the lowest that it can be. `expected` is not 0.
    """
    rights, wrongs = ranked.right[:, verdict].cumsum(), ranked.wrong[:, verdict].cumsum()
    row = np.searchsorted(rights / expected, RECALLS)
    precision = np.append(_falling(rights[:, None], wrongs[:, None])[:, 0], 0.0)
    return precision[row], np.append(ranked.score.astype(np.float64), np.nan)[row]


def _falling(rights: NDArray[np.int64], wrongs: NDArray[np.int64]) -> NDArray[np.float64]:
    """The highest precision from each row on."""
    judged = rights + wrongs
    precision = np.divide(rights, judged, out=np.zeros(rights.shape), where=judged > 0)
    return np.maximum.accumulate(precision[::-1], axis=0)[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    key: NDArray[np.uint64]
    weight: NDArray[np.int64]
    right: NDArray[np.uint8]
    counted: NDArray[np.uint8]

    def unpacked(self, some: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`right` and `counted` (n, VERDICTS), times the weights."""
        weight = self.weight[some, None]
        return np.unpackbits(self.right[some], axis=1) * weight, np.unpackbits(self.counted[some], axis=1) * weight


def _merged(held: list[_Held]) -> _Held:
    """All in one, by class and descending score; equal ones stay in the order that they came in."""
    if not held:
        packed = np.empty((0, VERDICTS // 8), np.uint8)
        return _Held(key=np.empty(0, np.uint64), weight=np.empty(0, np.int64), right=packed, counted=packed)
    key = np.concatenate([each.key for each in held])
    order = np.argsort(key, kind="stable")
    return _Held(
        key=key[order],
        weight=np.concatenate([each.weight for each in held])[order],
        right=np.concatenate([each.right for each in held])[order],
        counted=np.concatenate([each.counted for each in held])[order],
    )


def _keys(label: NDArray[np.int32], score: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Numbers whose ascending order is that of classes, and within a class of descending scores."""
    bits = (score + np.float32(0)).view(np.uint32)  # -0 becomes 0
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return label.astype(np.uint64) << _SCORE_BITS | (~ascending).astype(np.uint64)


def _scores(keys: NDArray[np.uint64]) -> NDArray[np.float32]:
    """The scores that `_keys` made them of."""
    ascending = ~keys.astype(np.uint32)
    return (
        np.where(ascending >> 31, ascending & np.uint32((1 << 31) - 1), ~ascending).astype(np.uint32).view(np.float32)
    )


def _classes(keys: NDArray[np.uint64]) -> Iterator[tuple[int, slice]]:
    """The classes of sorted keys, and where they are."""
    labels, first, count = np.unique(keys >> _SCORE_BITS, return_index=True, return_counts=True)
    for label, start, size in zip(labels.tolist(), first.tolist(), count.tolist(), strict=True):
        yield label, slice(start, start + size)
