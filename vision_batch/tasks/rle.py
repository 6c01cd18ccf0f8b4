"""Masks as COCO writes them: the lengths of runs, down the columns, as text.

Source of the format: maskApi.c of pycocotools (rleEncode, rleToString, rleFrString). Runs of 0 and 1 alternate, the
first is of 0 and may be empty. From the fourth on a length is written as its difference to the one before the last; a
number is written in digits of five bits, lowest first, each with a sixth bit that says whether more follow, plus 48.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

DIGIT_BITS: Final = 5
MORE: Final = 1 << DIGIT_BITS
SIGN: Final = MORE >> 1
FIRST_CHARACTER: Final = 48
MOST_DIGITS: Final = 12
"""Enough for 60 bits."""


def encode(mask: NDArray[np.bool_]) -> str:
    """The runs of a mask (H, W), true or not 0 where the thing is."""
    height, width = mask.shape
    return encode_spans(spans_of(mask, height=height, left=0, top=0), height * width)


def spans_of(window: NDArray[np.bool_], *, height: int, left: int, top: int) -> NDArray[np.int64]:
    """First pixel and the one behind the last (R, 2) of each run of a window at (`left`, `top`) of a mask.

    The pixels of the mask, which has `height` rows, are counted down its columns. Runs of neighbouring columns that
    meet are two.
    """
    columns = np.zeros((window.shape[1], window.shape[0] + 1), np.bool_)  # each ends with a row of none
    columns[:, :-1] = window.T
    flat = columns.ravel()
    edges = np.flatnonzero(np.concatenate([flat[:1], flat[1:] != flat[:-1]]))
    column, row = np.divmod(edges, columns.shape[1])
    return np.asarray(((left + column) * height + top + row).reshape(-1, 2))


def encode_spans(spans: NDArray[np.int64], pixels: int) -> str:
    """The text for runs in order (R, 2), as of `spans_of`, of a mask of so many `pixels`."""
    apart = spans[1:, 0] != spans[:-1, 1]
    firsts = spans[np.concatenate([[True], apart])[: len(spans)], 0]
    lasts = spans[np.concatenate([apart, [True]])[: len(spans)], 1]
    edges = np.concatenate([[0], np.stack([firsts, lasts], axis=1).ravel(), [pixels]])
    lengths = np.diff(edges)
    return _text(lengths[:-1] if len(lengths) > 1 and lengths[-1] == 0 else lengths)


def decode(counts: str, height: int, width: int) -> NDArray[np.uint8]:
    """The mask (H, W) of 0 and 1. ValueError where `counts` is not the text of a mask of this size."""
    lengths, pixels = lengths_of(counts), height * width
    if lengths.min() < 0 or lengths.max() > pixels or lengths.sum() != pixels:
        raise ValueError(f"the runs of the mask have not the {pixels} pixels of {width}x{height}: {counts[:40]!r}")
    values = (np.arange(len(lengths)) % 2).astype(np.uint8)
    return np.repeat(values, lengths).reshape(width, height).T


def area(counts: str) -> int:
    """How many pixels the mask has. ValueError where `counts` is no such text."""
    return int(lengths_of(counts)[1::2].sum())


def lengths_of(counts: str) -> NDArray[np.int64]:
    """The runs' lengths, of 0 and 1 in turn. ValueError where `counts` is no such text."""
    digits = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - FIRST_CHARACTER
    is_last = (digits & MORE) == 0
    if not len(digits) or digits.min() < 0 or digits.max() >= 2 * MORE or not is_last[-1]:
        raise ValueError(f"no runs of a mask: {counts[:40]!r}")
    last = np.flatnonzero(is_last)
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    if place.max() >= MOST_DIGITS:
        raise ValueError(f"no runs of a mask: a number of {place.max() + 1} digits")
    values = np.add.reduceat((digits & (MORE - 1)) << (DIGIT_BITS * place), first)
    values -= np.where(digits[last] & SIGN, np.int64(1) << (DIGIT_BITS * (place[last] + 1)), 0)
    for start in (1, 2):
        values[start::2] = values[start::2].cumsum()
    return values


def _text(lengths: NDArray[np.int64]) -> str:
    left = lengths.copy()
    left[3:] -= lengths[1:-2]
    characters = np.zeros((len(left), MOST_DIGITS), np.uint8)
    is_open = np.ones(len(left), bool)
    for place in range(MOST_DIGITS):
        digit = left & (MORE - 1)
        left >>= DIGIT_BITS
        goes_on = left != np.where(digit & SIGN, -1, 0)
        characters[:, place] = np.where(is_open, digit + np.where(goes_on, MORE, 0) + FIRST_CHARACTER, 0)
        is_open &= goes_on
        if not is_open.any():
            break
    return characters[characters > 0].tobytes().decode("ascii")
