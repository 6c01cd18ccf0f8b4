"""Whether one of two is right more often, by more than chance: McNemar's test.

Source: McNemar, Note on the sampling error of the difference between correlated proportions, 1947; the correction for
continuity is Edwards', 1948. Only images count that one is right about and the other is not: if neither were better,
each of them would be a throw of a coin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

MOST_EXACT: Final = 1000
"""Of so many images the binomial distribution is summed; of more, chi squared with one degree is as good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """How many images only the one and only the other is right about, and how probable so large a difference is
    if neither is better."""

    only_a_right: int
    only_b_right: int
    p_value: float


def mcnemar(only_a_right: int, only_b_right: int) -> McNemar:
    """The two-sided test; the p-value is 1 where the two are always right together."""
    images, fewer = only_a_right + only_b_right, min(only_a_right, only_b_right)
    if images <= MOST_EXACT:
        tail = sum(math.comb(images, count) for count in range(fewer + 1))
        p_value = min(1.0, 2 * tail / 2**images)
    else:
        statistic = max(0, abs(only_a_right - only_b_right) - 1) ** 2 / images
        p_value = math.erfc(math.sqrt(statistic / 2))  # of chi squared with one degree of freedom
    return McNemar(only_a_right=only_a_right, only_b_right=only_b_right, p_value=p_value)
