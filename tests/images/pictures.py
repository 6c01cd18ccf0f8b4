"""Real pictures, and files of them in every format and mode, for the tests of images."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageOps
from skimage import data as skimage_data
from sklearn.datasets import load_sample_image

Array = npt.NDArray[Any]
ORIENTATION = 0x0112


@cache
def photos() -> tuple[Image.Image, ...]:
    """Real photographs, RGB."""
    arrays = [skimage_data.astronaut(), skimage_data.coffee(), skimage_data.chelsea(), skimage_data.rocket()]
    arrays += [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    return tuple(Image.fromarray(array) for array in arrays)


@cache
def photo(width: int = 200, height: int = 150, which: int = 0) -> Image.Image:
    """A real photograph in any size."""
    return photos()[which].resize((width, height), Image.Resampling.LANCZOS)


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in one of Pillow's modes, with an alpha that is a ramp and grey that fills 16 bits."""
    if mode in ("RGBA", "LA"):
        converted = image.convert(mode)
        converted.putalpha(Image.linear_gradient("L").resize(image.size))
        return converted
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "P":
        return image.quantize(200)
    return image.convert(mode)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """The file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def oriented(image: Image.Image, format: str, orientation: int, **options: Any) -> bytes:
    """A file that carries an EXIF orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, format, exif=exif, **options)


def tiff(pixels: Array, **options: Any) -> bytes:
    """The file that tifffile writes, which knows kinds that Pillow does not."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png(pixels: Array, colour_type: int, *, part: float = 1) -> bytes:
    """A PNG of (H, W, C) pixels; of the compressed stream only a part, with a right checksum."""
    bits = 8 * pixels.dtype.itemsize
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"))
    stream = zlib.compress(b"".join(b"\0" + row.tobytes() for row in big_endian))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, colour_type, 0, 0, 0)
    pieces = (b"IHDR", header), (b"IDAT", stream[: int(len(stream) * part)]), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*piece) for piece in pieces)


def bmp(width: int, height: int, bits: int, rows: bytes, *, palette: bytes = b"", compression: int = 0) -> bytes:
    """A bitmap with a BITMAPINFOHEADER around rows as they are to be stored."""
    start = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(rows), 0, 0, len(palette) // 4, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start) + info + palette + rows


def as_pillow(data: bytes) -> Array:
    """What Pillow makes of a file: orientation applied, RGB, int64 (H, W, 3); grey of 16 bits shifted, not clipped."""
    with Image.open(io.BytesIO(data)) as image:
        shown = ImageOps.exif_transpose(image)
        if shown.mode.startswith("I;16"):
            shown = Image.fromarray((np.asarray(shown) >> 8).astype(np.uint8))
        return np.asarray(shown.convert("RGB")).astype(np.int64)


def difference(ours: Array, theirs: Array) -> float:
    """Mean absolute difference, of 255."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours.astype(np.int64) - theirs).mean())
