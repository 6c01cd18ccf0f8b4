"""EXIF orientation, in every format that carries one, is what Pillow's ImageOps.exif_transpose does."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile

from tests.images.pictures import as_pillow, difference, encoded, oriented, photo
from vision_batch.errors import ImageError
from vision_batch.images.decode import decode
from vision_batch.images.formats import read_header
from vision_batch.images.orientation import orient
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings

ALL = range(1, 9)


def shown(data: bytes) -> np.ndarray:
    header = read_header(data)
    pixels = orient(decode(data, header), header.orientation)
    assert (pixels.shape[1], pixels.shape[0]) == header.shown_size
    return pixels


@pytest.mark.parametrize("orientation", ALL)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_equals_pillow(format: str, orientation: int) -> None:
    data = oriented(photo(), format, orientation)
    assert read_header(data).orientation == orientation
    assert difference(shown(data), as_pillow(data)) <= (0.1 if format == "JPEG" else 0)


@pytest.mark.parametrize("orientation", ALL)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("layout", [{}, {"tile": (64, 64)}, {"rowsperstrip": 16}], ids=str)
def test_tiff_of_every_layout(orientation: int, bits: int, layout: dict[str, object]) -> None:
    pixels = np.asarray(photo())
    buffer = io.BytesIO()
    stored = pixels if bits == 8 else pixels.astype(np.uint16) << 8
    tifffile.imwrite(buffer, stored, photometric="rgb", extratags=[(274, 3, 1, orientation, True)], **layout)
    assert np.array_equal(shown(buffer.getvalue()), orient(pixels, orientation))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_nonsense_is_no_orientation(orientation: int) -> None:
    assert read_header(oriented(photo(), "JPEG", orientation)).orientation == 1


def test_damaged_exif_is_no_orientation() -> None:
    data = oriented(photo(), "JPEG", 6)
    start = data.index(b"Exif\0\0") + 6
    for at in range(start, start + 20):
        damaged = data[:at] + b"\xff\xff" + data[at + 2 :]
        try:
            assert read_header(damaged).orientation in ALL
        except ImageError as error:
            pytest.fail(f"EXIF made the image {error.code}")


@pytest.mark.parametrize("orientation", ALL)
def test_resizing_before_turning_equals_turning_before_resizing(orientation: int) -> None:
    """On a picture large enough for scaled decoding, and one that is not, with an odd margin around the crop."""
    preprocess = Preprocessor(PreprocessSettings(resize_shorter_px=65, crop_px=48), max_pixels=10**7)
    for width, height in ((150, 130), (640, 427)):
        data = oriented(photo(width, height), "JPEG", orientation, quality=95)
        ours = preprocess(data)
        turned = preprocess(encoded_shown(data))
        assert (ours.width, ours.height) == (turned.width, turned.height)
        assert difference(ours.pixels, turned.pixels) < 1


def encoded_shown(data: bytes) -> bytes:
    from PIL import Image

    return encoded(Image.fromarray(as_pillow(data).astype(np.uint8)), "PNG")
