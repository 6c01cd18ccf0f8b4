"""Labels have colours of their own, which are seen on light and on dark paper."""

from __future__ import annotations

import itertools

import pytest

from vision_batch.report.charts import SERIES
from vision_batch.report.colours import FIRST, GREY, Palette


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#181c23"])
@pytest.mark.parametrize("colour", [*FIRST, *SERIES, GREY])
def test_colours_stand_out_from_the_paper(colour: str, paper: str) -> None:
    low, high = sorted([luminance(colour), luminance(paper)])
    assert (high + 0.05) / (low + 0.05) >= 3


def test_a_label_keeps_its_colour_and_shares_it_with_no_other() -> None:
    palette = Palette.of([f"label {number}" for number in range(60)])
    colours = [palette.of_label(f"label {number}") for number in range(60)]
    assert colours[: len(FIRST)] == list(FIRST)
    assert len({*colours, GREY}) == 61
    for one, other in itertools.pairwise(palette.rgb(f"label {number}") for number in range(60)):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 60
    assert palette.of_label("unknown") == palette.of_label(None) == GREY


def test_a_label_that_is_said_twice_is_one() -> None:
    assert Palette.of(["a", "b", "a", "c"]).places == {"a": 0, "b": 1, "c": 2}
