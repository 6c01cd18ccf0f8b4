"""Whether the compressed strips and tiles of a TIFF hold all the pixels that they should.

OpenCV has libtiff go on where a strip of 8-bit samples ends early, and libtiff fills the rest with zeros, which come
out as 0 or 255 or the palette's first colour. Only strips and tiles whose last pixel is such a one are counted here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vision_batch.images import jpeg
from vision_batch.images.header import Encoded, truncated, unreadable

LZW, JPEG, PACKBITS = 5, 7, 32773
DEFLATE: Final = (8, 32946)
_BLOCK: Final = 1 << 20
_CLEAR, _END, _CODES = 256, 257, 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Strips:
    """How a page is stored: strips are tiles as wide as the page; `spans` are start and length of each, by plane."""

    compression: int
    width: int
    height: int
    planes: int
    bits: int
    """Of one pixel in one plane."""
    palette: bool
    spans: tuple[tuple[int, int], ...]


def demand_pixels(data: Encoded, strips: Strips, pixels: npt.NDArray[Any]) -> None:
    """ImageError `truncated` or `unreadable` for a strip or tile that does not hold its part of `pixels` (H, W, C).

    Of JPEG strips it is demanded that each has the size of the strip, and an end; CCITT strips are not looked at.
    """
    across = -(-pixels.shape[1] // strips.width)
    per_plane = across * -(-pixels.shape[0] // strips.height)
    for index in _suspect(strips, pixels):
        rows = min(strips.height, pixels.shape[0] - index // across * strips.height)
        for start, length in strips.spans[index::per_plane][: strips.planes]:
            _demand(data[start : start + length], strips, rows)


def _suspect(strips: Strips, pixels: npt.NDArray[Any]) -> Iterator[int]:
    """Numbers of the strips or tiles whose last pixel may come of zeros; with a palette or JPEG all of them."""
    height, width = pixels.shape[:2]
    bottoms = np.minimum(np.arange(strips.height, height + strips.height, strips.height), height) - 1
    rights = np.minimum(np.arange(strips.width, width + strips.width, strips.width), width) - 1
    last = pixels[np.ix_(bottoms, rights)]
    alike = ((last == 0) | (last == 255)).any(2)
    every = strips.palette or strips.compression == JPEG
    yield from range(alike.size) if every else np.flatnonzero(alike).tolist()


def _demand(stream: Encoded, strips: Strips, rows: int) -> None:
    if strips.compression == JPEG:
        width, height = jpeg.frame_size(stream)
        if width < strips.width or height < rows or jpeg.ends_early(stream):
            raise truncated(f"TIFF with a JPEG strip or tile that is shorter than {strips.width} x {rows} pixels")
        return
    needed = -(-strips.width * strips.bits // 8) * rows
    if strips.compression in DEFLATE:
        found = _inflated(stream, needed)
    elif strips.compression == LZW:
        found = _lzw_length(bytes(stream), needed)
    elif strips.compression == PACKBITS:
        found = _packbits_length(bytes(stream), needed)
    else:
        return
    if found < needed:
        raise truncated(f"TIFF with a strip or tile of {found} bytes where its pixels need {needed}")


def _inflated(stream: Encoded, needed: int) -> int:
    inflate, found = zlib.decompressobj(), 0
    try:
        while stream and found < needed and not inflate.eof:
            found += len(inflate.decompress(stream, _BLOCK))
            stream = inflate.unconsumed_tail
    except zlib.error as error:
        raise unreadable(f"TIFF with a damaged strip or tile: {error}") from error
    return found


def _packbits_length(stream: bytes, needed: int) -> int:
    """TIFF 6.0, section 9."""
    at = found = 0
    while at < len(stream) and found < needed:
        count = stream[at]
        if count < 128:
            found += min(count + 1, len(stream) - at - 1)
            at += count + 2
        else:
            found += 257 - count if count > 128 and at + 1 < len(stream) else 0
            at += 2 if count > 128 else 1
    return found


def _lzw_length(stream: bytes, needed: int) -> int:
    """TIFF 6.0, section 13: codes of 9 to 12 bits, highest bit first, one code early; strings are known by length."""
    if stream[:1] == b"\0" and stream[1:2] and stream[1] & 1:
        return needed  # the lowest bit comes first, as in files from before 1988; these are not looked at
    lengths = [1] * 256 + [0, 0]
    found = held = bits = previous = 0
    width = 9
    for byte in stream:
        held, bits = (held << 8 | byte) & 0xFFFFFF, bits + 8
        if bits < width:
            continue
        bits -= width
        code = held >> bits & (1 << width) - 1
        if code == _END or found >= needed:
            break
        if code == _CLEAR:
            del lengths[258:]
            width, previous = 9, 0
            continue
        if code > len(lengths) or (code == len(lengths) and not previous):
            raise unreadable("TIFF with a damaged LZW strip or tile")
        if previous and len(lengths) < _CODES:
            lengths.append(previous + 1)
        previous = lengths[code]
        found += previous
        width = min(max((len(lengths) + 1).bit_length(), 9), 12)
    return found
