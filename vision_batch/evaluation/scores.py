"""How many positives and negatives there are at each score: what ROC, precision-recall and average precision rest on.

Exact as long as there are at most `most` different scores; beyond that scores are rounded, just as far as it takes for
them to fit, so that memory does not grow with the images. A score keeps its distance from 0 and from 1 in proportion:
of confident models nearly all scores lie close to 1, and it is there that they must be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST: Final = 1 << 22
"""Different scores of all groups: 64 MiB of them and their counts."""

POSITIVE_BITS: Final = np.uint64(1)
GROUP_SHIFT: Final = np.uint64(34)
"""A key is a group, 33 bits that fall as the score rises, and a bit that says positive."""
MOST_LOST_BITS: Final = 23
"""Of a score's 24: what is left then is its power of two."""

# Ascending numbers for all float32. From 0 to 1/2 they count a score's own bits from ZERO on, and from there to 1 those
# of its distance to 1. All marks are multiples of 2 ** MOST_LOST_BITS, so that rounding a number rounds these bits.
ZERO: Final = 1 << 31
HALF_BITS: Final = 0x3F00_0000
ONE_BITS: Final = 0x3F80_0000
ONE: Final = ZERO + 2 * HALF_BITS
TOP: Final = (1 << 33) - (1 << 24)

Keys = NDArray[np.uint64]
Counts = NDArray[np.int64]


def score_keys(groups: NDArray[np.int64], scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> Keys:
    """Keys (n,) for a ScoreTally. NaN scores less than everything; groups are below 2 ** 29."""
    scores = scores.astype(np.float32)
    bits = np.abs(scores).view(np.uint32).astype(np.int64)
    with np.errstate(invalid="ignore"):
        number = ZERO + np.where(scores < 0, -bits, bits)
        upper = (scores >= 0.5) & (scores <= 1)
        number[upper] = ONE - (1 - scores[upper]).view(np.uint32).astype(np.int64)
        over = scores > 1
    number[over] = ONE + bits[over] - ONE_BITS
    number[np.isnan(scores)] = 0
    falling = (TOP - number).astype(np.uint64)
    return np.asarray(
        (groups.astype(np.uint64) << GROUP_SHIFT) | (falling << POSITIVE_BITS) | positive.astype(np.uint64), np.uint64
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Entries (E,) sorted by group, best score first; each score of a group once.

    `positives` and `negatives` count what has exactly that score, `above` and `below` the positives and negatives of
    the group that have it or more. `lost_bits` of the scores' 24 were rounded away: with 0 all is exact,
    else `roc_auc` is off by at most half of the share of pairs of a positive and a negative that have one score now.
    """

    groups: NDArray[np.int64]
    scores: NDArray[np.float32]
    positives: Counts
    negatives: Counts
    above: Counts
    below: Counts
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
        return np.bincount(self.groups, weights=values, minlength=groups).astype(np.float64)


class ScoreTally:
    """Counts scores of any number of groups (a class, say)."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._lost_bits = 0
        self._keys = np.empty(0, np.uint64)  # ascending, each once
        self._counts = np.empty(0, np.int64)
        self._waiting: list[Keys] = []
        self._waiting_count = 0

    def add(self, keys: Keys, weights: Counts | None = None) -> None:
        """Counts keys (n,) of `score_keys`, each once or as often as `weights` (n,) says."""
        if weights is not None:
            self._merge(*summed(self._rounded(keys), weights))
            return
        self._waiting.append(keys)
        self._waiting_count += len(keys)
        if self._waiting_count > self._most:
            self._settle()

    def ranked(self, positives: Counts | None = None, negatives: Counts | None = None) -> Ranked:
        """What was counted. With `positives` and `negatives` (groups,), how many of each group there are in all, those
        that were not counted score less than all others (-inf)."""
        self._settle()
        first = first_of_runs(self._keys >> POSITIVE_BITS)
        is_positive = (self._keys & POSITIVE_BITS).astype(bool)
        groups, scores = _parted(self._keys[first])
        counted = [_sums(np.where(chosen, self._counts, 0), first) for chosen in (is_positive, ~is_positive)]
        if positives is not None and negatives is not None:
            every = np.stack([positives, negatives])
            rest = every - [np.bincount(groups, each, len(positives)).astype(np.int64) for each in counted]
            some = np.flatnonzero(rest.any(axis=0))
            place = np.searchsorted(groups, some, side="right")
            groups, scores = np.insert(groups, place, some), np.insert(scores, place, -np.inf)
            counted = [np.insert(each, place, more[some]) for each, more in zip(counted, rest, strict=True)]
        above, below = (_cumulated(each, groups) for each in counted)
        return Ranked(
            groups=groups,
            scores=scores,
            positives=counted[0],
            negatives=counted[1],
            above=above,
            below=below,
            lost_bits=self._lost_bits,
        )

    def _settle(self) -> None:
        """Merges what is waiting into what is held."""
        if self._waiting:
            keys = self._rounded(np.concatenate(self._waiting))
            self._waiting, self._waiting_count = [], 0
            keys.sort()
            first = first_of_runs(keys)
            self._merge(keys[first], np.diff(first, append=len(keys)))

    def _merge(self, keys: Keys, counts: Counts) -> None:
        """Merges keys that ascend, each once; rounds further where there are too many, until half of them are left."""
        if len(self._keys):
            keys, counts = np.concatenate([self._keys, keys]), np.concatenate([self._counts, counts])
            keys, counts = summed(keys, counts)
        most = self._most
        while len(keys) > most and self._lost_bits < MOST_LOST_BITS:
            self._lost_bits += 1
            keys, counts = summed(self._rounded(keys), counts)
            most = self._most // 2
        self._keys, self._counts = keys, counts

    def _rounded(self, keys: Keys) -> Keys:
        lost = ((1 << self._lost_bits) - 1) << int(POSITIVE_BITS)
        return keys & np.uint64((1 << 64) - 1 - lost) if lost else keys


class SortedKeys:
    """The keys of the facts that were last asked for, sorted: once for all resamples of them."""

    def __init__(self) -> None:
        self._keys: Keys | None = None
        self._sorted: Keys = np.empty(0, np.uint64)
        self._image = np.empty(0, np.int64)

    def weighted(self, keys: Keys, listed: NDArray[np.int64], weights: Counts) -> tuple[Keys, Counts]:
        """Keys (E,) of n images, `listed` (n,) of each, in ascending order, with the weights of their images."""
        if self._keys is not keys:
            order = np.argsort(keys, kind="stable")
            self._keys, self._sorted = keys, keys[order]
            self._image = np.repeat(np.arange(len(listed)), listed)[order]
        return self._sorted, weights[self._image]


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


def _sums(counts: Counts, first: NDArray[np.int64]) -> Counts:
    return np.add.reduceat(counts, first) if len(first) else np.empty(0, np.int64)


def _cumulated(counts: Counts, groups: NDArray[np.int64]) -> Counts:
    """Running sums that begin anew with each group."""
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    total = np.cumsum(counts)
    before = (total - counts)[first]
    return np.asarray(total - np.repeat(before, np.diff(first, append=len(groups))), np.int64)


def _parted(keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Groups and scores of keys."""
    groups = (keys >> GROUP_SHIFT).astype(np.int64)
    number = TOP - ((keys & ((np.uint64(1) << GROUP_SHIFT) - np.uint64(1))) >> POSITIVE_BITS).astype(np.int64)
    bits = np.abs(number - ZERO)
    upper = (number >= ZERO + HALF_BITS) & (number <= ONE)
    bits[upper] = ONE - number[upper]
    bits[number > ONE] += ONE_BITS - 2 * HALF_BITS
    scores = bits.astype(np.uint32).view(np.float32)
    scores = np.where(number < ZERO, -scores, np.where(upper, 1 - scores, scores))
    scores[number == 0] = np.nan
    return groups, scores.astype(np.float32)
