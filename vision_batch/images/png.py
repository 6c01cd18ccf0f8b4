"""PNG (ISO/IEC 15948): its chunks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import unpack_from
from typing import Final

from vision_batch.errors import ImageError
from vision_batch.images.exif import exif_orientation
from vision_batch.images.header import Encoded, Header, truncated, unreadable, unsupported

MAX_CHUNKS: Final = 1 << 16
_BLOCK: Final = 1 << 20
_ANIMATION: Final = (b"acTL", b"fcTL", b"fdAT")
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


def read_header(data: Encoded) -> Header:
    """Reads IHDR, and eXIf where it comes before the pixels or after."""
    length, kind, width, height, bits, colour = unpack_from(">I4sIIBB", data, 8)
    if kind != b"IHDR" or length != 13:
        raise unreadable("PNG that does not begin with IHDR")
    channels = _CHANNELS.get(colour)
    if channels is None or bits not in (1, 2, 4, 8, 16) or not 0 < width < 1 << 31 or not 0 < height < 1 << 31:
        raise unreadable(f"PNG header with {width} x {height} pixels, {bits} bits, colour type {colour}")
    return Header(
        format="png", width=width, height=height, orientation=_orientation(data), bits=bits, channels=channels
    )


def chunks(data: Encoded) -> Iterator[tuple[int, bytes, int]]:
    """Start, name and payload bytes of the chunks from IHDR on; a chunk may claim more than there is."""
    at, end = 8, len(data)
    for _ in range(MAX_CHUNKS):
        if at + 12 > end:
            raise truncated(f"PNG ends after {end} bytes, before IEND")
        length, kind = unpack_from(">I4s", data, at)
        yield at, kind, length
        if kind == b"IEND":
            return
        at += length + 12
    raise unsupported(f"PNG with more than {MAX_CHUNKS} chunks")


def _orientation(data: Encoded) -> int:
    try:
        for at, kind, length in chunks(data):
            if kind == b"eXIf":
                return exif_orientation(data[at + 8 : at + 8 + length])
    except ImageError:  # whether the picture is whole is asked later, when its size is known
        return 1
    return 1


def check_whole(data: Encoded, header: Header) -> None:
    """Every chunk up to IEND lies within the bytes.

    Where all chunks are there and the compressed pixels end early nevertheless, or fail their CRC, the decoder refuses.
    """
    pixels = False
    for at, kind, length in chunks(data):
        if at + 12 + length > len(data):
            raise truncated(f"PNG chunk of {length} bytes at {at}, {len(data)} bytes in all")
        pixels = pixels or kind == b"IDAT"
    if not pixels:
        raise truncated("PNG without IDAT")


def still(data: Encoded) -> Encoded:
    """The file without its animation, if it has one.

    OpenCV reads animated files by a way of its own that goes on behind wrong checksums and gives, where pixels are
    missing, whatever was in memory before.
    """
    parts = list(chunks(data))
    if not any(kind in _ANIMATION for _, kind, _ in parts):
        return data
    kept = (data[at : at + 12 + length] for at, kind, length in parts if kind not in _ANIMATION)
    return b"".join((data[:8], *kept))


def ends_early(data: Encoded) -> bool:
    """True if the compressed pixels of a PNG stop before their own end. Costs about a decoding."""
    stream = zlib.decompressobj()
    try:
        for at, kind, length in chunks(data):
            rest = bytes(data[at + 8 : at + 8 + length]) if kind == b"IDAT" else b""
            while rest and not stream.eof:
                stream.decompress(rest, _BLOCK)
                rest = stream.unconsumed_tail
    except (zlib.error, ImageError):
        return False
    return not stream.eof
