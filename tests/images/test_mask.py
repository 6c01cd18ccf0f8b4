"""Masks: class indices as they are stored, placed where their image is."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.images.pictures import encoded, photo, png
from vision_batch.errors import ImageError
from vision_batch.images.geometry import place
from vision_batch.images.mask import decode_mask, ignore_of, place_mask

CLASSES = np.arange(12 * 7).reshape(12, 7)


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(ImageError) as error:
        decode_mask(data, **options)
    assert error.value.code == "invalid_label"
    return error.value.message


class TestDecoding:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_grey_values_are_the_classes(self, dtype: type) -> None:
        classes = (CLASSES * (3 if dtype is np.uint8 else 700)).astype(dtype)
        mask = decode_mask(encoded(Image.fromarray(classes), "PNG"))
        assert mask.dtype == dtype
        assert np.array_equal(mask, classes)

    def test_a_palettes_indices_are_the_classes_whatever_its_colours(self) -> None:
        classes = (CLASSES % 21).astype(np.uint8)
        image = Image.fromarray(classes, "L")
        image = image.convert("P")
        image.putdata(classes.ravel().tolist())
        image.putpalette([7, 7, 7] * 256)
        mask = decode_mask(encoded(image, "PNG", transparency=3))
        assert np.array_equal(mask, classes)

    @pytest.mark.parametrize("bits", [1, 2, 4])
    def test_small_palettes_and_few_greys_keep_their_numbers(self, bits: int) -> None:
        classes = (CLASSES % (1 << bits)).astype(np.uint8)
        image = Image.new("P", (7, 12))
        image.putdata(classes.ravel().tolist())
        image.putpalette([200, 10, 10] * (1 << bits))
        data = encoded(image, "PNG", bits=bits)
        assert data[24] == bits
        assert np.array_equal(decode_mask(data), classes)
        if bits == 1:
            grey = encoded(Image.fromarray(classes.astype(bool)), "PNG")
            assert grey[24:26] == b"\1\0"
            assert np.array_equal(decode_mask(grey), classes)

    def test_a_grey_that_is_called_transparent_stays(self) -> None:
        classes = CLASSES.astype(np.uint8)
        assert np.array_equal(decode_mask(encoded(Image.fromarray(classes), "PNG", transparency=3)), classes)

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
    def test_colours_are_no_classes(self, mode: str) -> None:
        assert "colours or alpha" in refusal(encoded(photo(9, 5).convert(mode), "PNG"))

    def test_other_formats_lose_classes(self) -> None:
        assert "is a jpeg" in refusal(encoded(photo(9, 5).convert("L"), "JPEG"))

    @pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG", b"\x89PNG\r\n\x1a\n"])
    def test_what_is_no_picture(self, data: bytes) -> None:
        refusal(data)

    def test_half_a_mask(self) -> None:
        data = encoded(Image.fromarray(CLASSES.astype(np.uint8)), "PNG")
        for end in range(len(data) - 1):
            refusal(data[:end])
        refusal(png(CLASSES.astype(np.uint8)[..., None], 0, part=0.5))

    def test_a_mask_too_large_is_not_decoded(self) -> None:
        data = bytearray(encoded(Image.fromarray(CLASSES.astype(np.uint8)), "PNG"))
        data[16:24] = struct.pack(">II", 1 << 20, 1 << 20)
        assert "1048576 x 1048576" in refusal(bytes(data))
        assert "at most 83" in refusal(encoded(Image.fromarray(CLASSES.astype(np.uint8)), "PNG"), max_pixels=83)


STEPS = st.fixed_dictionaries(
    {},
    optional={"crop_px": st.integers(1, 60)},
) | st.sampled_from([{"resize_px": (20, 30)}, {"letterbox_px": 33}, {"resize_shorter_px": 17, "crop_px": 23}])


@given(st.integers(1, 90), st.integers(1, 90), STEPS)
def test_a_pixel_has_the_class_at_its_centre_and_outside_is_ignored(width: int, height: int, given: Any) -> None:
    steps = {"resize_shorter_px": None, "resize_px": None, "letterbox_px": None, "crop_px": None} | given
    placement = place(width, height, **steps)
    mask = np.random.default_rng(0).integers(0, 200, (height, width)).astype(np.uint8)
    placed = place_mask(mask, placement.geometry, placement.out_width, placement.out_height)
    assert (placed.dtype, placed.shape) == (np.uint8, (placement.out_height, placement.out_width))
    assert placed.flags.c_contiguous
    for row, column in {(0, 0), (placed.shape[0] - 1, 0), (placed.shape[0] // 2, placed.shape[1] - 1)}:
        x, y = placement.geometry.to_full(column + 0.5, row + 0.5)
        inside = 0 <= x < width and 0 <= y < height
        assert placed[row, column] == (mask[int(y), int(x)] if inside else 255)


def test_a_mask_that_stays_as_it_is() -> None:
    mask = CLASSES.astype(np.uint16)
    placement = place(7, 12, resize_shorter_px=None, resize_px=None, letterbox_px=None, crop_px=None)
    placed = place_mask(mask, placement.geometry, 7, 12)
    assert np.array_equal(placed, mask)
    assert placed.dtype == np.uint16
    assert ignore_of(mask) == 65535
