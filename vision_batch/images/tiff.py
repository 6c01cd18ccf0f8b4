"""TIFF 6.0 and BigTIFF: the first page's directory."""

from __future__ import annotations

from struct import calcsize
from typing import Final

import numpy as np

from vision_batch.images.exif import ORIENTATION, Directory, read_directory
from vision_batch.images.header import Encoded, Header, truncated, unreadable, unsupported

_WIDTH, _HEIGHT, _BITS, _COMPRESSION = 256, 257, 258, 259
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 277, 278, 279
_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 284, 322, 323, 324, 325
_SAMPLE_FORMAT: Final = 339
_UNCOMPRESSED: Final = 1
_COMPRESSIONS: Final = {
    2: "CCITT RLE",
    6: "old-style JPEG",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}


def read_header(data: Encoded) -> Header:
    """Size, depth and orientation of the first page."""
    directory = _directory(data)
    width, height = directory.value(data, _WIDTH, 0), directory.value(data, _HEIGHT, 0)
    bits, channels = directory.value(data, _BITS, 1), directory.value(data, _SAMPLES, 1)
    if width == 0 or height == 0 or channels == 0:
        raise unreadable(f"TIFF of {width} x {height} pixels with {channels} channels")
    compression = directory.value(data, _COMPRESSION, _UNCOMPRESSED)
    if compression in _COMPRESSIONS:
        raise unsupported(f"TIFF with {_COMPRESSIONS[compression]} compression")
    if directory.value(data, _SAMPLE_FORMAT, 1) != 1 or bits > 16:
        raise unsupported(f"TIFF with {bits}-bit samples that are not unsigned integers of up to 16 bits")
    orientation = directory.value(data, ORIENTATION, 1)
    return Header(
        format="tiff",
        width=width,
        height=height,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        bits=bits,
        channels=channels,
    )


def _directory(data: Encoded) -> Directory:
    try:
        return read_directory(data)
    except ValueError as error:
        raise unreadable(str(error)) from error


def check_whole(data: Encoded, header: Header) -> None:
    """There are as many strips or tiles as the picture needs and each lies within the bytes."""
    directory = _directory(data)
    tiled = _TILE_OFFSETS in directory.fields
    starts = _array(data, directory, _TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    lengths = _array(data, directory, _TILE_BYTES if tiled else _STRIP_BYTES)
    needed = _segments(data, directory, header, tiled)
    if len(starts) < needed:
        raise truncated(f"TIFF with {len(starts)} of {needed} strips or tiles")
    both = min(len(starts), len(lengths), needed)
    last = int(np.max(starts[:needed])) if both == 0 else int(np.max(starts[:both] + lengths[:both]))
    if last > len(data):
        raise truncated(f"TIFF of at least {last} bytes, {len(data)} are there")
    if not tiled and directory.value(data, _COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
        _check_uncompressed(header, len(data), int(lengths[:needed].sum()) if both == needed else len(data))


def _check_uncompressed(header: Header, there: int, claimed: int) -> None:
    needed = (header.width * header.channels * header.bits + 7) // 8 * header.height
    if min(there, claimed) < needed:
        raise truncated(f"TIFF whose pixels need {needed} bytes, {min(there, claimed)} are there")


def _segments(data: Encoded, directory: Directory, header: Header, tiled: bool) -> int:
    planes = header.channels if directory.value(data, _PLANAR, 1) == 2 else 1
    if tiled:
        width, height = directory.value(data, _TILE_WIDTH, 0), directory.value(data, _TILE_HEIGHT, 0)
        if width == 0 or height == 0:
            raise unreadable("TIFF tiles without a size")
        return -(-header.width // width) * -(-header.height // height) * planes
    rows = directory.value(data, _ROWS_PER_STRIP, header.height) or header.height
    return -(-header.height // rows) * planes


def _array(data: Encoded, directory: Directory, tag: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """All values of a tag as uint64; `truncated` if they are not all there."""
    field = directory.fields.get(tag)
    if field is None:
        return np.empty(0, np.uint64)
    if field.offset + field.count * calcsize(f"={field.code}") > len(data):
        raise truncated(f"TIFF with {field.count} strips or tiles that are not all there")
    kind = np.dtype(f"{directory.order}{field.code}")
    return np.frombuffer(data, kind, field.count, field.offset).astype(np.uint64)
