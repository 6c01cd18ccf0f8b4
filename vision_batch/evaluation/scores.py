"""How many positives and negatives there are at each score: what ROC, precision-recall and average precision rest on.

Exact as long as there are at most `most` different scores; beyond that scores are rounded, just as far as it takes for
them to fit, so that memory does not grow with the images. A score keeps its distance from 0 and from 1 in proportion:
of confident models nearly all scores lie close to 1, and it is there that they must be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.score_keys import MOST_LOST_BITS, POSITIVE_BITS, Keys, parted_keys

MOST: Final = 1 << 22
"""Different scores of all groups: 64 MiB of them and their counts."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Entries (E,) sorted by group, best score first; each score of a group once.

    `positives` and `negatives` count what has exactly that score, `above` and `below` the positives and negatives of
    the group that have it or more. `starts` are the first entries of the groups that have some. `lost_bits` of the
    scores' 24 were rounded away: with 0 all is exact, else `roc_auc` is off by at most half of the share of pairs of a
    positive and a negative that have one score now.
    """

    groups: NDArray[np.int64]
    scores: NDArray[np.float32]
    positives: Counts
    negatives: Counts
    above: Counts
    below: Counts
    starts: NDArray[np.int64]
    lost_bits: int

    def of(self, group: int) -> slice:
        """Where the entries of one group are."""
        start, stop = np.searchsorted(self.groups, [group, group + 1])
        return slice(int(start), int(stop))

    def average_precision(self, groups: int) -> NDArray[np.float64]:
        """The sum of precision x gained recall (groups,), as scikit-learn's; NaN without positives."""
        gained = self.positives * (self.above / np.maximum(self.above + self.below, 1))
        return ratio(self._sums(gained, groups), self._sums(self.positives, groups))

    def roc_auc(self, groups: int) -> NDArray[np.float64]:
        """The odds (groups,) that a positive scores more than a negative, ties being half; NaN where one is missing."""
        won = self.negatives * (self.above - self.positives / 2)
        pairs = self._sums(self.positives, groups) * self._sums(self.negatives, groups)
        return ratio(self._sums(won, groups), pairs)

    def _sums(self, values: NDArray[np.float64] | Counts, groups: int) -> NDArray[np.float64]:
        sums = np.zeros(groups)
        sums[self.groups[self.starts]] = _sums(values, self.starts)
        return sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Keys (K,), ascending, each once, and their entries (E,): a positive and a negative key of one score are one."""

    keys: Keys
    is_positive: NDArray[np.bool_]
    first: NDArray[np.int64]
    groups: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, keys: Keys) -> Runs:
        first = first_of_runs(keys >> POSITIVE_BITS)
        groups, scores = parted_keys(keys[first])
        is_positive = (keys & POSITIVE_BITS).astype(bool)
        return cls(keys=keys, is_positive=is_positive, first=first, groups=groups, scores=scores)

    def ranked(self, counts: Counts, positives: Counts | None, negatives: Counts | None, lost_bits: int) -> Ranked:
        """With the `counts` (K,) of the keys; `ScoreTally.ranked` says what `positives` and `negatives` are."""
        groups, scores = self.groups, self.scores
        every, of_positives = _sums(counts, self.first), _sums(np.where(self.is_positive, counts, 0), self.first)
        counted = [of_positives, every - of_positives]
        if positives is not None and negatives is not None:
            last = np.searchsorted(groups, np.arange(len(positives)), side="right")
            present = np.flatnonzero(np.diff(last, prepend=0))
            for index, total in enumerate((positives, negatives)):
                known = np.zeros(len(total), np.int64)
                known[present] = _sums(counted[index], (last - np.diff(last, prepend=0))[present])
                counted[index] = np.insert(counted[index], last, total - known)
            groups, scores = np.insert(groups, last, np.arange(len(last))), np.insert(scores, last, -np.inf)
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        above, below = (_cumulated(each, starts) for each in counted)
        return Ranked(
            groups=groups,
            scores=scores,
            positives=counted[0],
            negatives=counted[1],
            above=above,
            below=below,
            starts=starts,
            lost_bits=lost_bits,
        )


class ScoreTally:
    """Counts scores of any number of groups (a class, say)."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._lost_bits = 0
        self._keys = np.empty(0, np.uint64)  # ascending, each once
        self._counts = np.empty(0, np.int64)
        self._runs: Runs | None = None  # of these keys, where somebody has made them already
        self._waiting: list[Keys] = []
        self._waiting_count = 0

    def add(self, keys: Keys) -> None:
        """Counts keys (n,) of `score_keys`, each once."""
        self._waiting.append(keys)
        self._waiting_count += len(keys)
        if self._waiting_count > self._most:
            self._settle()

    def add_runs(self, runs: Runs, counts: Counts) -> None:
        """Counts the keys (K,) of `runs`, each as often as `counts` (K,) says."""
        if not len(self._counts) and len(counts) <= self._most:
            self._keys, self._counts, self._runs = runs.keys, counts, runs
        else:
            self._merge(self._rounded(runs.keys), counts)

    def ranked(self, positives: Counts | None = None, negatives: Counts | None = None) -> Ranked:
        """What was counted. With `positives` and `negatives` (groups,), how many of each group there are in all, those
        that were not counted score less than all others (-inf), an entry for each group."""
        self._settle()
        runs = self._runs or Runs.of(self._keys)
        return runs.ranked(self._counts, positives, negatives, self._lost_bits)

    def _settle(self) -> None:
        """Merges what is waiting into what is held."""
        if self._waiting:
            keys = self._rounded(np.concatenate(self._waiting))
            self._waiting, self._waiting_count = [], 0
            keys.sort()
            first = first_of_runs(keys)
            self._merge(keys[first], np.diff(first, append=len(keys)))

    def _merge(self, keys: Keys, counts: Counts) -> None:
        """Merges keys; rounds further where there are too many, until half of them are left."""
        keys, counts = summed(np.concatenate([self._keys, keys]), np.concatenate([self._counts, counts]))
        most = self._most
        while len(keys) > most and self._lost_bits < MOST_LOST_BITS:
            self._lost_bits += 1
            keys, counts = summed(self._rounded(keys), counts)
            most = self._most // 2
        self._keys, self._counts, self._runs = keys, counts, None

    def _rounded(self, keys: Keys) -> Keys:
        lost = ((1 << self._lost_bits) - 1) << int(POSITIVE_BITS)
        return keys & np.uint64((1 << 64) - 1 - lost) if lost else keys


class SortedKeys:
    """The keys of the facts that were last asked for, sorted: once for all resamples of them."""

    def __init__(self) -> None:
        self._keys: Keys | None = None
        self._runs = Runs.of(np.empty(0, np.uint64))
        self._image = np.empty(0, np.int64)
        self._first = np.empty(0, np.int64)

    def weighted(self, keys: Keys, listed: NDArray[np.int64], weights: Counts) -> tuple[Runs, Counts]:
        """Keys (E,) of n images, `listed` (n,) of each, and how often each is there with the `weights` of images."""
        if self._keys is not keys:
            order = np.argsort(keys, kind="stable")
            self._first = first_of_runs(keys[order])
            self._keys, self._runs = keys, Runs.of(keys[order][self._first])
            self._image = np.repeat(np.arange(len(listed)), listed)[order]
        return self._runs, _sums(weights[self._image], self._first)


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where the denominator is 0."""
    undefined = np.full(len(numerator), np.nan)
    return np.asarray(np.divide(numerator, denominator, out=undefined, where=denominator > 0), np.float64)


def summed(keys: Keys, counts: Counts) -> tuple[Keys, Counts]:
    """Each key once, ascending, with the sum of its counts."""
    if not (keys[1:] >= keys[:-1]).all():
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
    first = first_of_runs(keys)
    return keys[first], _sums(counts, first)


def first_of_runs(keys: Keys) -> NDArray[np.int64]:
    """Where each run of equal keys begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1]]))


def _sums(counts: NDArray[Any], first: NDArray[np.int64]) -> NDArray[Any]:
    """Of each run."""
    return np.add.reduceat(counts, first) if len(first) else counts[:0]


def _cumulated(counts: Counts, starts: NDArray[np.int64]) -> Counts:
    """Running sums that begin anew with each group."""
    total = np.cumsum(counts)
    before = (total - counts)[starts]
    return np.asarray(total - np.repeat(before, np.diff(starts, append=len(counts))), np.int64)
