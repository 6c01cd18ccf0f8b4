"""Resizing is Pillow's BILINEAR and BICUBIC to the last rounding; windows never read or write outside."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.images.pictures import difference, photo, photos
from vision_batch.images.geometry import Placement
from vision_batch.images.resize import limit_threads, resize, window
from vision_batch.images.settings import Interpolation

INTERPOLATIONS: list[Interpolation] = ["bilinear", "bicubic"]
sides = st.integers(1, 40)


def by_pillow(image: Image.Image, width: int, height: int, interpolation: Interpolation = "bilinear") -> np.ndarray:
    return np.asarray(image.resize((width, height), Image.Resampling[interpolation.upper()]))


@pytest.mark.parametrize("size", [(341, 256), (64, 64), (17, 200), (700, 650), (1, 1)])
@pytest.mark.parametrize("which", range(6))
def test_equals_pillow(which: int, size: tuple[int, int]) -> None:
    image = photos()[which]
    ours = resize(np.array(image), *size)
    assert difference(ours, by_pillow(image, *size)) < 0.05
    assert np.abs(ours.astype(int) - by_pillow(image, *size)).max() <= 2


@pytest.mark.parametrize("size", [(341, 256), (64, 64), (17, 200), (700, 650), (1, 1)])
@pytest.mark.parametrize("which", range(6))
def test_bicubic_equals_pillow(which: int, size: tuple[int, int]) -> None:
    image = photos()[which]
    assert difference(resize(np.array(image), *size, interpolation="bicubic"), by_pillow(image, *size, "bicubic")) < 0.2


@given(sides, sides, sides, sides)
@settings(max_examples=150)
def test_equals_pillow_at_any_size(width: int, height: int, to_width: int, to_height: int) -> None:
    image = photo(40, 40).crop((0, 0, width, height))
    ours = resize(np.array(image), to_width, to_height).astype(int)
    assert np.abs(ours - by_pillow(image, to_width, to_height)).max() <= 1


@given(sides, sides, sides, sides)
@settings(max_examples=150)
def test_bicubic_equals_pillows_first_across_then_down_at_any_size(
    width: int, height: int, to_width: int, to_height: int
) -> None:
    image = photo(40, 40).crop((0, 0, width, height))
    ours = resize(np.array(image), to_width, to_height, interpolation="bicubic").astype(int)
    across = Image.fromarray(by_pillow(image, to_width, height, "bicubic"))
    assert np.abs(ours - by_pillow(across, to_width, to_height, "bicubic")).max() <= 2


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@given(sides, sides, sides, sides, st.data())
@settings(max_examples=100)
def test_what_is_kept_equals_the_same_part_of_all(
    interpolation: Interpolation, width: int, height: int, to_width: int, to_height: int, data: st.DataObject
) -> None:
    pixels = np.array(photo(40, 40).crop((0, 0, width, height)))
    keep = data.draw(st.integers(1, to_width)), data.draw(st.integers(1, to_height))
    part = resize(pixels, to_width, to_height, interpolation=interpolation, keep=keep).astype(int)
    assert part.shape == (keep[1], keep[0], 3)
    everything = resize(pixels, to_width, to_height, interpolation=interpolation)
    assert np.abs(part - everything[: keep[1], : keep[0]]).max() <= 1


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_keeping_as_many_as_there_are_still_resizes(interpolation: Interpolation) -> None:
    pixels = np.array(photo(32, 30))
    for size, keep in (((40, 44), (32, 44)), ((40, 44), (40, 30)), ((40, 44), (32, 30)), ((40, 30), (32, 30))):
        everything = resize(pixels, *size, interpolation=interpolation).astype(int)
        part = resize(pixels, *size, interpolation=interpolation, keep=keep)
        assert np.abs(part - everything[: keep[1], : keep[0]]).max() <= 1


def test_a_span_is_where_the_picture_ends() -> None:
    """Two columns of which the picture covers one and a half: the second counts half."""
    pixels = np.array([[[0, 0, 0], [90, 90, 90]]], np.uint8)
    assert resize(pixels, 1, 1)[0, 0, 0] == 45
    assert resize(pixels, 1, 1, span=(1.5, 1))[0, 0, 0] < 45
    assert resize(pixels, 2, 1, span=(1.5, 1))[0, 1, 0] < 90


def test_the_right_size_is_not_touched() -> None:
    pixels = np.array(photo())
    assert np.shares_memory(resize(pixels, 200, 150), pixels)


def test_arrays_that_are_not_writable_or_not_contiguous() -> None:
    pixels = np.array(photo())
    expected = resize(pixels, 50, 40)
    frozen = pixels.copy()
    frozen.flags.writeable = False
    assert np.array_equal(resize(frozen, 50, 40), expected)
    assert np.array_equal(resize(np.asfortranarray(pixels), 50, 40), expected)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(-12, 12), st.integers(-12, 12), st.integers(1, 9))
def test_windows(width: int, height: int, left: int, top: int, side: int) -> None:
    picture = np.array(photo(width, height))
    placement = Placement(
        width=width,
        height=height,
        resized_width=width,
        resized_height=height,
        left=left,
        top=top,
        out_width=side,
        out_height=side,
        fill=7,
    )
    padded = np.full((50, 50, 3), 7, np.uint8)
    padded[20 : 20 + height, 20 : 20 + width] = picture
    ours = window(picture, placement)
    assert ours.flags.c_contiguous
    assert np.array_equal(ours, padded[20 + top : 20 + top + side, 20 + left : 20 + left + side])


def test_threads_are_limited_where_it_is_asked_and_not_in_a_thread_that_chose() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(1, initializer=limit_threads) as pool:
            assert pool.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_decoding_alone_does_not_import_torch() -> None:
    code = (
        "import sys, cv2, numpy as np\n"
        "from vision_batch.images.preprocess import Preprocessor\n"
        "from vision_batch.images.settings import PreprocessSettings\n"
        "data = cv2.imencode('.jpg', np.zeros((40, 40, 3), np.uint8))[1].tobytes()\n"
        "Preprocessor(PreprocessSettings(crop_px=32), max_pixels=10**6)(data)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
