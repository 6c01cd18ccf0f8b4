"""Windows bitmaps: BITMAPCOREHEADER and BITMAPINFOHEADER to V5."""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from vision_batch.images.header import Encoded, Header, truncated, unreadable, unsupported

_RLE: Final = (1, 2)
_EMBEDDED: Final = {4: "JPEG", 5: "PNG"}


def read_header(data: Encoded) -> Header:
    """Reads the header that its own length announces."""
    width, height, bits, compression = _info(data)
    if compression in _EMBEDDED:
        raise unsupported(f"BMP with an embedded {_EMBEDDED[compression]}")
    if width <= 0 or height == 0 or bits not in (1, 2, 4, 8, 16, 24, 32):
        raise unreadable(f"BMP header with {width} x {height} pixels, {bits} bits")
    channels = 1 if bits <= 8 else 4 if bits == 32 else 3
    return Header(format="bmp", width=width, height=abs(height), bits=min(bits, 8), channels=channels)


def _info(data: Encoded) -> tuple[int, int, int, int]:
    """Width, height (negative: stored from the top), bits per pixel, compression."""
    size = unpack_from("<I", data, 14)[0]
    if size == 12:
        width, height, _, bits = unpack_from("<HHHH", data, 18)
        return width, height, bits, 0
    if not 16 <= size <= 4096:
        raise unreadable(f"BMP header of {size} bytes")
    width, height, _, bits = unpack_from("<iiHH", data, 18)
    return width, height, bits, unpack_from("<I", data, 30)[0] if size >= 20 else 0


def check_whole(data: Encoded, header: Header) -> None:
    """Every row lies within the bytes; of run-length coded ones, as many bytes as the header announces."""
    start = unpack_from("<I", data, 10)[0]
    width, height, bits, compression = _info(data)
    rows = (width * bits + 31) // 32 * 4 * abs(height)
    needed = unpack_from("<I", data, 34)[0] if compression in _RLE else rows
    if start + needed > len(data):
        raise truncated(f"BMP of {start + needed} bytes, {len(data)} are there")
