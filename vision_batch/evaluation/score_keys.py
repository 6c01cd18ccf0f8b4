"""A score of a group, and whether it is a positive's, as one number: of a group the best come first."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

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


def parted_keys(keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Groups and scores of keys (n,)."""
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
