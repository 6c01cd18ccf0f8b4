"""A strip or tile that ends early makes the picture truncated, in every compression; whole ones are never accused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.images.pictures import Array, as_pillow, difference, encoded, in_mode, photo, tiff
from vision_batch.errors import ImageError
from vision_batch.images.decode import decode
from vision_batch.images.exif import read_directory
from vision_batch.images.formats import check_whole, read_header
from vision_batch.images.tiff_strips import LZW, PACKBITS, Strips, demand_pixels

STRIP_BYTES, TILE_BYTES = 279, 325
COMPRESSIONS = ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")
MODES = ("RGB", "L", "P", "RGBA", "LA", "CMYK", "1")


def decoded(data: bytes) -> Array:
    header = read_header(data)
    check_whole(data, header)
    return decode(data, header)


def with_shorter(page: bytes, index: int, tag: int = STRIP_BYTES) -> bytes:
    """The page with one strip or tile of which the directory tells a third only."""
    directory, copy = read_directory(page), bytearray(page)
    field = directory.fields[tag]
    code = directory.order + field.code
    at = field.offset + index * struct.calcsize(code)
    struct.pack_into(code, copy, at, struct.unpack_from(code, copy, at)[0] // 3)
    return bytes(copy)


def strips_of(page: bytes, tag: int = STRIP_BYTES) -> int:
    return read_directory(page).fields[tag].count


@pytest.mark.parametrize(
    ("mode", "compression"),
    [(mode, c) for mode in MODES for c in COMPRESSIONS if c != "jpeg" or mode not in ("P", "1")],
)
def test_a_strip_that_ends_early(mode: str, compression: str) -> None:
    page = encoded(in_mode(photo(80, 61), mode), "TIFF", compression=compression, strip_size=1000)
    assert strips_of(page) > 1 or mode == "1"
    for index in range(strips_of(page)):
        with pytest.raises(ImageError) as caught:
            decoded(with_shorter(page, index))
        assert caught.value.code == "truncated", index


@pytest.mark.parametrize("options", [{"tile": (16, 32)}, {"tile": (16, 16), "predictor": True}], ids=str)
def test_a_tile_that_ends_early(options: dict[str, object]) -> None:
    page = tiff(np.asarray(photo(80, 61)), photometric="rgb", compression="zlib", **options)
    for index in range(strips_of(page, TILE_BYTES)):
        with pytest.raises(ImageError) as caught:
            decoded(with_shorter(page, index, TILE_BYTES))
        assert caught.value.code == "truncated", index


def test_a_plane_that_ends_early() -> None:
    planes = np.asarray(photo(80, 61)).transpose(2, 0, 1)
    page = tiff(planes, photometric="rgb", compression="zlib", planarconfig="separate", rowsperstrip=20)
    for index in range(strips_of(page)):
        with pytest.raises(ImageError) as caught:
            decoded(with_shorter(page, index))
        assert caught.value.code == "truncated", index


def test_a_strip_that_is_no_stream() -> None:
    page = bytearray(encoded(photo(80, 61), "TIFF", compression="tiff_deflate"))
    page[100:600] = bytes(500)
    with pytest.raises(ImageError) as caught:
        decoded(bytes(page))
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize("compression", [*COMPRESSIONS[:3], "raw"])
@pytest.mark.parametrize("mode", MODES)
def test_pictures_of_one_colour_are_whole(mode: str, compression: str) -> None:
    """They look as if nothing had been decoded, so each strip is counted to its end."""
    for colour in ("black", "white"):
        for size in ((1, 1), (83, 57), (640, 480)):
            page = encoded(in_mode(Image.new("RGB", size, colour), mode), "TIFF", compression=compression)
            assert difference(decoded(page), as_pillow(page)) == 0


@pytest.mark.parametrize("compression", COMPRESSIONS[:3])
def test_photographs_above_a_border_are_whole(compression: str) -> None:
    """Long streams of all code widths and many clear codes, which are counted because of the border."""
    image = photo(400, 300).copy()
    image.paste("black", (0, 290, 400, 300))
    page = encoded(image, "TIFF", compression=compression, strip_size=1 << 30)
    assert difference(decoded(page), as_pillow(page)) == 0


@pytest.mark.parametrize(
    ("compression", "stream"), [(LZW, b""), (LZW, b"\x80"), (PACKBITS, b""), (PACKBITS, b"\x80" * 9)]
)
def test_streams_without_pixels(compression: int, stream: bytes) -> None:
    strips = Strips(
        compression=compression, width=4, height=4, planes=1, bits=8, palette=False, spans=((0, len(stream)),)
    )
    with pytest.raises(ImageError):
        demand_pixels(stream, strips, np.zeros((4, 4, 3), np.uint8))


def test_a_strip_that_holds_far_more_is_not_inflated_to_its_end() -> None:
    stream = zlib.compress(bytes(1 << 24))
    strips = Strips(compression=8, width=4, height=4, planes=1, bits=8, palette=False, spans=((0, len(stream)),))
    demand_pixels(stream, strips, np.zeros((4, 4, 3), np.uint8))
