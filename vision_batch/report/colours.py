"""Colours: a label has the same one everywhere on a page."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vision_batch.images.draw import GOLDEN, Colour

FIRST: Final = (
    "#3f7fe0",
    "#d9642b",
    "#1f9d76",
    "#b455c9",
    "#b8860b",
    "#d6457a",
    "#3c9bb5",
    "#7a8c2e",
    "#8568e0",
    "#a86a4a",
)
"""Told apart by most eyes, and at least 3 : 1 on white and on the dark page alike (WCAG 2.2, 1.4.11)."""
GREY: Final = "#808792"


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a page's labels."""

    places: dict[str, int]

    @classmethod
    def of(cls, labels: Iterable[str]) -> Palette:
        """The first labels get the colours that are easiest to tell apart."""
        return cls({label: place for place, label in enumerate(dict.fromkeys(labels))})

    def of_label(self, label: str | None) -> str:
        """As CSS; grey for a label that is not among them."""
        place = self.places.get(label or "")
        if place is None:
            return GREY
        return FIRST[place] if place < len(FIRST) else _css(_further(place))

    def rgb(self, label: str | None) -> Colour:
        text = self.of_label(label)
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _further(place: int) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(place * GOLDEN % 1, 0.48, 0.5)
    return round(255 * red), round(255 * green), round(255 * blue)


def _css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
