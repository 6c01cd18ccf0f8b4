"""Run lengths as COCO's own library writes and reads them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from vision_batch.tasks.rle import area, decode, encode, encode_spans, spans_of

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.booleans())


def cocos(mask: NDArray[np.bool_]) -> str:
    return str(coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode())


@given(MASKS)
def test_any_mask_is_what_the_library_writes(mask: NDArray[np.bool_]) -> None:
    counts = encode(mask)
    assert counts == cocos(mask)
    assert (decode(counts, *mask.shape) == mask).all()
    assert area(counts) == mask.sum()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (431, 640)])
def test_large_and_degenerate_masks_too(shape: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(0).random(shape) < share
    assert encode(mask) == cocos(mask)
    assert (decode(cocos(mask), *shape) == mask).all()


@given(MASKS, st.integers(1, 8), st.integers(0, 5), st.integers(0, 5))
def test_a_mask_in_strips_of_a_window_is_the_same(window: NDArray[np.bool_], step: int, left: int, top: int) -> None:
    width = window.shape[1]
    mask = np.pad(window, ((top, 3), (left, 2)))
    parts = [
        spans_of(window[:, first : first + step], height=len(mask), left=left + first, top=top)
        for first in range(0, width, step)
    ]
    assert encode_spans(np.concatenate(parts), mask.size) == encode(mask)


def test_numbers_that_are_not_bool_count_where_they_are_not_0() -> None:
    mask = np.array([[0, 2, 255], [0, 0, 1]], np.uint8)
    assert encode(mask) == encode(mask > 0)


def written(numbers: list[int]) -> str:
    """As the library's rleToString, without its differences."""
    text = ""
    for number in numbers:
        goes_on = True
        while goes_on:
            digit, number = number & 31, number >> 5
            goes_on = number != (-1 if digit & 16 else 0)
            text += chr(48 + digit + 32 * goes_on)
    return text


def test_lengths_that_only_add_up_by_a_negative_one_or_an_overflow_are_refused() -> None:
    assert decode(written([5, 1, 10]), 4, 4).sum() == 1
    overflowing = written([16, 1 << 58, 1 << 58] + [0] * 62)
    for counts in (written([5, -1, 12]), overflowing):
        with pytest.raises(ValueError, match="the runs of the mask have not the 16 pixels of 4x4"):
            decode(counts, 4, 4)


@pytest.mark.parametrize("counts", ["", "\x01", "o", "§", "0" * 3 + "P" * 13 + "0", "52204", "ooooooo0"])
def test_what_is_no_mask_of_the_size_is_refused(counts: str) -> None:
    with pytest.raises(ValueError, match=r"runs of (a|the) mask"):
        decode(counts, 4, 4)
