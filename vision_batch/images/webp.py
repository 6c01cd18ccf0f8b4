"""WebP (RFC 9649): its RIFF chunks and the headers of VP8, VP8L and VP8X."""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from vision_batch.images.exif import exif_orientation
from vision_batch.images.header import Encoded, Header, truncated, unreadable

MAX_CHUNKS: Final = 1 << 16
_ALPHA, _ANIMATION = 0x10, 0x02


def read_header(data: Encoded) -> Header:
    """Size from the canvas or the picture itself; orientation from the EXIF chunk."""
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        return _extended(data)
    width, height, channels = _picture_size(data, 12, kind)
    return Header(format="webp", width=width, height=height, channels=channels)


def _picture_size(data: Encoded, at: int, kind: bytes) -> tuple[int, int, int]:
    """Width, height and channels of the VP8 or VP8L chunk at `at`."""
    if kind == b"VP8 ":
        start, width, height = unpack_from("<3sHH", data, at + 11)
        if start != b"\x9d\x01\x2a":
            raise unreadable("WebP whose VP8 data does not begin with a key frame")
        size = width & 0x3FFF, height & 0x3FFF, 3
    elif kind == b"VP8L":
        signature, packed = unpack_from("<BI", data, at + 8)
        if signature != 0x2F:
            raise unreadable("WebP whose VP8L data has no signature")
        size = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, 4 if packed >> 28 & 1 else 3
    elif len(kind) < 4:
        raise truncated("WebP ends before its first chunk")
    else:
        raise unreadable(f"WebP that begins with a chunk {kind!r}")
    if size[0] == 0 or size[1] == 0:
        raise unreadable(f"WebP of {size[0]} x {size[1]} pixels")
    return size


def _extended(data: Encoded) -> Header:
    flags, low_w, high_w, low_h, high_h = unpack_from("<B3xHBHB", data, 20)
    width, height = (low_w | high_w << 16) + 1, (low_h | high_h << 16) + 1
    orientation, picture = 1, False
    for at, kind, length in _chunks(data):
        if kind in (b"VP8 ", b"VP8L") and not picture and not flags & _ANIMATION:
            picture = True
            size = _picture_size(data, at, kind)
            if size[:2] != (width, height):
                raise unreadable(f"WebP canvas of {width} x {height} pixels with a picture of {size[0]} x {size[1]}")
        elif kind == b"EXIF":
            exif = data[at + 8 : at + 8 + length]
            orientation = exif_orientation(exif[6:] if bytes(exif[:6]) == b"Exif\0\0" else exif)
            break
    channels = 4 if flags & _ALPHA else 3
    return Header(format="webp", width=width, height=height, orientation=orientation, channels=channels)


def _chunks(data: Encoded) -> list[tuple[int, bytes, int]]:
    """Start, name and payload bytes of the chunks whose beginning is there."""
    found: list[tuple[int, bytes, int]] = []
    at = 12
    while at + 8 <= len(data) and len(found) < MAX_CHUNKS:
        kind, length = unpack_from("<4sI", data, at)
        found.append((at, kind, length))
        at += 8 + length + (length & 1)
    return found


def check_whole(data: Encoded, header: Header) -> None:
    """The RIFF chunk, and the picture's own chunk, lie within the bytes."""
    end = unpack_from("<I", data, 4)[0] + 8
    if end > len(data):
        raise truncated(f"WebP of {end} bytes, {len(data)} are there")
    for at, kind, length in _chunks(data):
        if kind in (b"VP8 ", b"VP8L", b"ANMF"):
            if at + 8 + length > len(data):
                raise truncated(f"WebP picture of {length} bytes at {at}, {len(data)} bytes in all")
            return
    raise truncated("WebP without a picture")
