"""Boxes as YOLO's text has them: centre and size as shares of the image, exactly.

All sums are of whole numbers, so nothing is lost in between. A text has 17 digits after the point; where these do not
give a float32 box back as it is, 60. Whoever reads it as float64 gets the box within 1e-12 px.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final, TypeAlias

import numpy as np

Edges: TypeAlias = tuple[float, float, float, float]

DIGITS: Final = (17, 60)
"""The latter tell apart all float32, the smallest of which is 1e-45."""
MOST_CHARACTERS: Final = 100
MOST_SHARE: Final = 1000
_DECIMAL: Final = re.compile(r"([-+]?)([0-9]*)(?:\.([0-9]*))?")


def yolo_line(edges: Edges, width: int, height: int) -> str:
    """`centre x, centre y, width, height` of a box with these edges (x_min, y_min, x_max, y_max) in pixels.

    `parse_yolo_line` gives edges that are float32 back as they are.
    """
    text = ""
    for digits in DIGITS:
        text = _line(edges, width, height, digits)
        if parse_yolo_line(text.split(), width, height) == edges:
            break
    return text


def parse_yolo_line(shares: Sequence[str], width: int, height: int) -> Edges:
    """The edges (x_min, y_min, x_max, y_max) in pixels, each the nearest float32; ValueError for what is no number.

    An edge that is nearer to 0 than the text's digits can tell, of which 17 are taken to be there, is 0.
    """
    if longer := [share for share in shares if len(share) > MOST_CHARACTERS]:
        raise ValueError(f"{longer[0][:20]!r}…, {len(longer[0])} characters, is no share of an image")
    digits = max(DIGITS[0], *(len(share.partition(".")[2]) for share in shares))
    centre_x, centre_y, across, down = (_scaled(share, digits) for share in shares)
    unit = 2 * 10**digits
    return (
        _edge((2 * centre_x - across) * width, unit, width),
        _edge((2 * centre_y - down) * height, unit, height),
        _edge((2 * centre_x + across) * width, unit, width),
        _edge((2 * centre_y + down) * height, unit, height),
    )


def _edge(amount: int, unit: int, size_px: int) -> float:
    return 0.0 if abs(amount) <= 2 * size_px else float(np.float32(amount / unit))


def _scaled(text: str, digits: int) -> int:
    """A share times 10**digits. With an exponent it is read as float64: 1e-999999999 would fill the memory."""
    found = _DECIMAL.fullmatch(text)
    if not abs(float(text)) <= MOST_SHARE:
        raise ValueError(f"{text[:20]!r} is no share of an image")
    if found is None:
        return int(Fraction(float(text)) * 10**digits)
    sign, whole, rest = found.groups(default="")
    return int(f"{sign}{whole}{rest.ljust(digits, '0')}")


def _line(edges: Edges, width: int, height: int, digits: int) -> str:
    ratios = [edge.as_integer_ratio() for edge in map(float, edges)]
    below = max(ratio[1] for ratio in ratios)  # powers of 2, so that the largest is a multiple of all
    x_min, y_min, x_max, y_max = (above * (below // own) for above, own in ratios)
    shares = (
        (x_min + x_max, 2 * below * width),
        (y_min + y_max, 2 * below * height),
        (x_max - x_min, below * width),
        (y_max - y_min, below * height),
    )
    return " ".join(_text(*share, digits) for share in shares)


def _text(above: int, below: int, digits: int) -> str:
    """A fraction, rounded to `digits` after the point, without zeros at the end."""
    number = (2 * abs(above) * 10**digits + below) // (2 * below)
    whole, rest = divmod(number, 10**digits)
    return f"{'-' if above < 0 else ''}{whole}.{rest:0{digits}d}".rstrip("0").rstrip(".")
