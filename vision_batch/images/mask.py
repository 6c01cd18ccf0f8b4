"""A mask: the class of every pixel, from a PNG to the model's pixels."""

from __future__ import annotations

import struct
import zlib
from typing import Final, TypeAlias, cast

import cv2
import numpy as np
import numpy.typing as npt

from vision_batch.errors import ImageError
from vision_batch.images import png
from vision_batch.images.decode import short
from vision_batch.images.formats import check_whole, read_header
from vision_batch.images.geometry import Geometry
from vision_batch.images.header import Encoded

Mask: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
MAX_PIXELS: Final = 178_956_970
_COLOUR_TYPE: Final = 25  # behind signature (8), length and name (8), width and height (8), bits
_INDEXED: Final = (0, 3)  # grey, palette


def ignore_of(mask: Mask) -> int:
    """The value of pixels that no loss and no metric counts: 255 in uint8, 65535 in uint16."""
    return int(np.iinfo(mask.dtype).max)


def decode_mask(data: Encoded, *, max_pixels: int = MAX_PIXELS) -> Mask:
    """Class indices (H, W) of a grey or palette PNG as they are stored: uint8 of 1 to 8 bits, uint16 of 16.

    A palette's colours are of no meaning: its indices count. ImageError `invalid_label` for everything else.
    """
    try:
        header = read_header(data)
        if header.format != "png":
            raise _invalid(f"a mask that is a {header.format}; a PNG with a class index in each pixel is expected")
        if header.width * header.height > max_pixels:
            raise _invalid(f"a mask of {header.width} x {header.height} pixels; at most {max_pixels} are read")
        check_whole(data, header)
        stored = cv2.imdecode(np.frombuffer(_as_grey(png.still(data)), np.uint8), cv2.IMREAD_UNCHANGED)
    except ImageError as error:
        raise error if error.code == "invalid_label" else _invalid(f"the mask: {error.message}") from error
    except cv2.error as error:
        raise _invalid(f"the mask: {error}") from error
    if stored is None or stored.shape != (header.height, header.width):
        raise _invalid("a mask that the PNG decoder refuses")
    if header.bits < 8:
        return cast(Mask, stored // (255 // ((1 << header.bits) - 1)))  # the decoder stretches them to 0 … 255
    return cast(Mask, stored)


def place_mask(mask: Mask, geometry: Geometry, width: int, height: int) -> Mask:
    """The (H, W) mask of a full image at the model's `width` x `height`: of each pixel's centre, the nearest value.

    What lies outside the image is IGNORE.
    """
    rows, inside_y = _nearest(height, geometry.scale_y, geometry.offset_y, mask.shape[0])
    columns, inside_x = _nearest(width, geometry.scale_x, geometry.offset_x, mask.shape[1])
    placed = mask[rows[:, None], columns]
    if not (inside_y.all() and inside_x.all()):
        placed[~inside_y] = ignore_of(mask)
        placed[:, ~inside_x] = ignore_of(mask)
    return placed


def _nearest(count: int, scale: float, offset: float, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """For each of `count` model pixels along one axis the full image's that holds its centre, and whether there is."""
    at = np.floor((np.arange(count) + 0.5) * scale + offset).astype(np.intp)
    return at.clip(0, size - 1), (at >= 0) & (at < size)


def _as_grey(data: Encoded) -> bytes:
    """A palette PNG as a grey one of the same bits, so that the decoder gives its indices and not its colours."""
    colour_type = data[_COLOUR_TYPE]
    if colour_type not in _INDEXED:
        raise _invalid("a mask with colours or alpha; grey or a palette, with a class index in each pixel, is expected")
    header, *rest = (
        bytes(data[at : at + 12 + length]) for at, kind, length in png.chunks(data) if kind not in (b"PLTE", b"tRNS")
    )
    fields = header[4:17] + b"\0" + header[18:21]  # IHDR, of the colour type grey
    header = header[:4] + fields + struct.pack(">I", zlib.crc32(fields))
    return b"".join((bytes(data[:8]), header, *rest))


def _invalid(message: str) -> ImageError:
    return ImageError("invalid_label", short(message))
