"""What a measurement is: figures, round by round, and the lines of the table that it fills."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Figures: TypeAlias = Mapping[str, float]
"""What one round has found, by name. A figure that could not be taken is left out."""


class CannotMeasureError(Exception):
    """What a measurement needs is not here; the message says what, and how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table: a figure, what it says, and the bound that it should keep, if it has one.

    A `steadfast` figure, as memory is one, is the same beside other work on the machine; seconds and rates are not.
    """

    figure: str
    what: str
    better: Literal["more", "less"] = "more"
    bound: float | None = None
    unit: str = ""
    steadfast: bool = False

    @property
    def is_ratio(self) -> bool:
        """Ratios travel between machines; seconds and MiB do not."""
        return not self.unit

    def meets(self, value: float) -> bool:
        """Whether `value` keeps the bound; a line without one is always content."""
        return self.bound is None or (value >= self.bound if self.better == "more" else value <= self.bound)

    def loss(self, before: float, now: float) -> float:
        """By how much of `before` it has got worse; negative where it has got better."""
        return (before - now if self.better == "more" else now - before) / before


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Makes its data in a folder, and then yields the figures of one round after the other.

    `size` is how many images, or what its lines say, there are in the target's sense; `quick_size` is for a look.

    All that a ratio compares is measured in the same round, so that a machine's moods meet both sides of it.
    `rounds` raises CannotMeasureError where it needs what is not there.
    """

    name: str
    rounds: Callable[[Path, int], Iterator[Figures]]
    size: int
    quick_size: int
    lines: tuple[Line, ...]
