"""Boxes as YOLO's text has them: centre and size as shares of the image, exactly.

The sums are of whole numbers, so nothing is lost in between. A text has 17 digits after the point; where these do not
give a float32 box back as it is, 60. Whoever reads it as float64 gets the box within 1e-12 px.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, TypeAlias

import numpy as np

Edges: TypeAlias = tuple[float, float, float, float]

DIGITS: Final = (17, 60)
"""The latter tell apart all float32, the smallest of which is 1e-45."""

MOST_CHARACTERS: Final = 100
MOST_SHARE: Final = 1000.0


def yolo_line(edges: Edges, width: int, height: int) -> str:
    """`centre x, centre y, width, height` of a box with these edges (x_min, y_min, x_max, y_max) in pixels.

    `parse_yolo_line` gives edges that are float32 back as they are.
    """
    text = ""
    for digits in DIGITS:
        x_min, y_min, x_max, y_max = (Fraction(edge) for edge in edges)
        shares = ((x_min + x_max) / (2 * width), (y_min + y_max) / (2 * height))
        sizes = ((x_max - x_min) / width, (y_max - y_min) / height)
        text = " ".join(_text(share, digits) for share in (*shares, *sizes))
        if parse_yolo_line(text.split(), width, height) == edges:
            break
    return text


def parse_yolo_line(shares: list[str], width: int, height: int) -> Edges:
    """The edges (x_min, y_min, x_max, y_max) in pixels, each the nearest float32; ValueError for what is no number.

    An edge that is nearer to 0 than the text's digits can tell, of which 17 are taken to be there, is 0.
    """
    centre_x, centre_y, across, down = (_number(share) for share in shares)
    x_min, x_max = (_edge(centre_x + sign * across / 2, width, shares) for sign in (-1, 1))
    y_min, y_max = (_edge(centre_y + sign * down / 2, height, shares) for sign in (-1, 1))
    return x_min, y_min, x_max, y_max


def _edge(share: Fraction, size_px: int, texts: list[str]) -> float:
    pixels = share * size_px
    told = Fraction(size_px, 10 ** max(DIGITS[0], *(len(text.partition(".")[2]) for text in texts)))
    return 0.0 if abs(pixels) <= told else float(np.float32(float(pixels)))


def _text(share: Fraction, digits: int) -> str:
    """Rounded to `digits` after the point, without zeros at the end."""
    number = round(share * 10**digits)
    sign, number = ("-", -number) if number < 0 else ("", number)
    whole, rest = divmod(number, 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}".rstrip("0").rstrip(".")


def _number(text: str) -> Fraction:
    """With an exponent as float64: the fraction of a text like 1e-999999999 would fill the memory."""
    value = float(text)
    if len(text) > MOST_CHARACTERS or not abs(value) <= MOST_SHARE:
        raise ValueError(f"{text[:20]!r} is no share of an image")
    return Fraction(value) if "e" in text.lower() else Fraction(text)
