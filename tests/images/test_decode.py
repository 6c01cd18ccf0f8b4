"""Every format and mode comes out as Pillow's convert("RGB") of it, except where decode.py's table says otherwise."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.images.pictures import as_pillow, bmp, difference, encoded, in_mode, photo, png, tiff
from vision_batch.errors import ImageError
from vision_batch.images.decode import MAX_MESSAGE, decode, short
from vision_batch.images.formats import check_whole, read_header
from vision_batch.images.orientation import orient

WRITTEN: list[tuple[str, str, dict[str, Any]]] = [
    *(("JPEG", mode, {"quality": 90}) for mode in ("RGB", "L")),
    ("JPEG", "RGB", {"quality": 90, "progressive": True}),
    *(("JPEG", "RGB", {"quality": 90, "subsampling": subsampling}) for subsampling in (0, 1, 2)),
    *(("PNG", mode, {}) for mode in ("RGB", "L", "P", "RGBA", "LA", "I;16", "1")),
    ("PNG", "P", {"transparency": 0}),
    *(("WEBP", mode, {"lossless": lossless}) for mode in ("RGB", "RGBA") for lossless in (False, True)),
    *(("BMP", mode, {}) for mode in ("RGB", "L", "P", "RGBA", "1")),
    *(("TIFF", mode, {}) for mode in ("RGB", "L", "P", "RGBA", "LA", "CMYK", "I;16", "1")),
    *(("TIFF", "RGB", {"compression": c}) for c in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")),
    *(("TIFF", "RGBA", {"compression": c}) for c in ("tiff_lzw", "tiff_deflate")),
    *(("TIFF", "1", {"compression": c}) for c in ("group3", "group4")),
    ("TIFF", "RGB", {"big_tiff": True}),
]


def decoded(data: bytes) -> np.ndarray:
    header = read_header(data)
    check_whole(data, header)
    pixels = decode(data, header)
    assert pixels.dtype == np.uint8
    return orient(pixels, header.orientation)


@pytest.mark.parametrize(("format", "mode", "options"), WRITTEN, ids=str)
def test_equals_pillow(format: str, mode: str, options: dict[str, Any]) -> None:
    data = encoded(in_mode(photo(), mode), format, **options)
    # libjpeg-turbo's builds differ in the last bit of the colour conversion; everything else is exact.
    assert difference(decoded(data), as_pillow(data)) <= (0.1 if format == "JPEG" else 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (37, 1), (7, 5), (8, 8), (17, 9)])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_odd_sizes(format: str, size: tuple[int, int]) -> None:
    data = encoded(photo(*size), format)
    assert difference(decoded(data), as_pillow(data)) <= (0.1 if format == "JPEG" else 0)


@pytest.mark.parametrize("quality", [60, 95])
def test_cmyk_jpeg_is_inked_paper(quality: int) -> None:
    data = encoded(photo().convert("CMYK"), "JPEG", quality=quality)
    assert read_header(data).channels == 4
    assert difference(decoded(data), as_pillow(data)) < 0.1


def test_half_a_cmyk_jpeg_is_truncated() -> None:
    data = encoded(photo().convert("CMYK"), "JPEG")
    with pytest.raises(ImageError) as caught:
        decoded(data[: len(data) // 2] + b"\xff\xd9")
    assert caught.value.code == "truncated"


def test_first_frame_of_animations_and_first_page() -> None:
    first, second = photo(which=0), photo(which=1)
    for format, options in (("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = encoded(first, format, save_all=True, append_images=[second], **options)
        assert difference(decoded(data), np.asarray(first)) == 0


def test_a_damaged_animation_is_unreadable_like_any_damaged_png() -> None:
    whole = encoded(photo(), "PNG", save_all=True, append_images=[photo(which=1)])
    middle = whole.index(b"IDAT") + 5000
    with pytest.raises(ImageError) as caught:
        decoded(whole[:middle] + bytes(40) + whole[middle + 40 :])
    assert caught.value.code == "unreadable"


def test_bytes_behind_a_whole_picture_are_ignored() -> None:
    for format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        data = encoded(photo(), format)
        assert np.array_equal(decoded(data + b"behind" * 100), decoded(data))


class TestSixteenBits:
    """The high byte is taken."""

    VALUES = np.array([[0, 0x00FF, 0x0100, 0x7FFF], [0x8000, 0x80FF, 0xFF00, 0xFFFF]], np.uint16)

    @pytest.mark.parametrize("options", [{}, {"photometric": "miniswhite"}, {"byteorder": ">"}], ids=str)
    def test_grey_tiff(self, options: dict[str, Any]) -> None:
        expected = ~self.VALUES if "photometric" in options else self.VALUES
        ours = decoded(tiff(self.VALUES, **{"photometric": "minisblack", **options}))
        assert np.array_equal(ours[..., 1], expected >> 8)

    @pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"tile": (16, 16)}], ids=str)
    def test_rgb_tiff(self, options: dict[str, Any]) -> None:
        ramp = np.asarray(photo()).astype(np.uint16) * 256 + 200
        assert np.array_equal(decoded(tiff(ramp, photometric="rgb", **options)), np.asarray(photo()))

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_png(self, channels: int) -> None:
        values = np.repeat(self.VALUES[..., None], channels, 2)
        ours = decoded(png(values, {1: 0, 3: 2, 4: 6}[channels]))
        assert np.array_equal(ours, np.repeat(self.VALUES[..., None] >> 8, 3, 2))


class TestAlpha:
    """It is dropped; colours come out as stored."""

    def test_kinds_of_tiff(self) -> None:
        rgba = np.asarray(in_mode(photo(), "RGBA"))
        for kind in ("unassalpha", "unspecified"):
            assert np.array_equal(decoded(tiff(rgba, photometric="rgb", extrasamples=[kind])), rgba[..., :3])

    def test_sixteen_bits(self) -> None:
        rgba = np.asarray(in_mode(photo(), "RGBA"))
        data = tiff(rgba.astype(np.uint16) << 8, photometric="rgb", extrasamples=["unassalpha"])
        assert np.array_equal(decoded(data), rgba[..., :3])

    def test_multiplied_colours_are_divided(self) -> None:
        data = tiff(np.asarray(in_mode(photo(), "RGBA")), photometric="rgb", extrasamples=["assocalpha"])
        assert difference(decoded(data), as_pillow(data)) == 0


@pytest.mark.parametrize("options", [{"planarconfig": "separate"}, {"bigtiff": True, "byteorder": ">"}], ids=str)
def test_more_tiffs(options: dict[str, Any]) -> None:
    pixels = np.asarray(photo())
    stored = pixels.transpose(2, 0, 1) if "planarconfig" in options else pixels
    assert np.array_equal(decoded(tiff(stored, photometric="rgb", **options)), pixels)


@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_of_16_bits(top_down: bool) -> None:
    """Five bits each, as Windows writes them: X1R5G5B5, rows padded to four bytes."""
    data = bmp(3, -2 if top_down else 2, 16, b"\x00\x7c\xe0\x03\x1f\x00\0\0\xff\x7f\x00\x00\x00\x7c\0\0")
    assert difference(decoded(data), as_pillow(data)) <= 8  # whether 31 becomes 248 or 255 is each decoder's own


def test_bmp_run_length_coded() -> None:
    image = photo(64, 48).convert("L")
    rows = b"".join(b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in np.asarray(image)[::-1].tolist())
    palette = b"".join(bytes((value, value, value, 0)) for value in range(256))
    data = bmp(64, 48, 8, rows + b"\0\1", palette=palette, compression=1)
    assert np.array_equal(decoded(data)[..., 0], np.asarray(image))


class TestFaultsThatChangeNoPixel:
    """Strictness is about pixels: such files are read, unless something is missing besides."""

    def test_scan_parameters(self) -> None:
        data = encoded(photo(), "JPEG")
        odd = bytearray(data)
        at = odd.index(b"\xff\xda")
        length = struct.unpack_from(">H", odd, at + 2)[0]
        odd[at + length - 1 : at + length + 2] = b"\x00\x00\x00"
        assert np.array_equal(decoded(bytes(odd)), decoded(data))
        with pytest.raises(ImageError) as caught:
            decoded(bytes(odd[: len(odd) // 2]) + b"\xff\xd9")
        assert caught.value.code == "truncated"

    def test_version_of_jfif(self) -> None:
        data = bytearray(encoded(photo(), "JPEG"))
        data[data.index(b"JFIF\0") + 5] = 3
        assert decoded(bytes(data)).shape == (150, 200, 3)


def test_a_png_whose_pixels_end_early_behind_right_checksums_is_truncated() -> None:
    pixels = np.asarray(photo())
    whole = png(pixels, 2)
    assert np.array_equal(decoded(whole), pixels)
    for part in (0.0, 0.3, 0.99):
        with pytest.raises(ImageError) as caught:
            decoded(png(pixels, 2, part=part))
        assert caught.value.code == "truncated"


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_damage_is_unreadable(format: str) -> None:
    data = bytearray(encoded(photo(), format))
    middle = len(data) // 3
    data[middle : middle + 400] = bytes(400)
    if format == "WEBP":
        data[20:30] = bytes(10)
    with pytest.raises(ImageError) as caught:
        decoded(bytes(data))
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize("message", ["", "x" * 1000, "two\nlines\0and\x1b[31m", "\ud800"])
def test_messages_are_one_short_line(message: str) -> None:
    assert len(short(message)) <= MAX_MESSAGE
    assert short(message).isprintable()


def test_the_helpers_write_what_pillow_reads() -> None:
    assert np.array_equal(as_pillow(png(np.asarray(photo()), 2)), np.asarray(photo()))
    with Image.open(io.BytesIO(bmp(1, 1, 24, b"\1\2\3\0"))) as image:
        assert image.getpixel((0, 0)) == (3, 2, 1)
