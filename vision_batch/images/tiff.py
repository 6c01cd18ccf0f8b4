"""TIFF 6.0 and BigTIFF: the first page's directory."""

from __future__ import annotations

from struct import calcsize, pack_into
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vision_batch.images.exif import ORIENTATION, Directory, read_directory
from vision_batch.images.header import Encoded, Header, truncated, unreadable, unsupported
from vision_batch.images.tiff_strips import JPEG, Strips

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 266, 273, 277, 278, 279
_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 284, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _DNG_VERSION = 338, 339, 50706

_COLOUR_MAP, _JPEG_TABLES = 320, 347
_NEEDED: Final = frozenset(
    (_BITS, _STRIP_OFFSETS, _STRIP_BYTES, _COLOUR_MAP, _TILE_OFFSETS, _TILE_BYTES, _SAMPLE_FORMAT, _JPEG_TABLES)
)

_UNCOMPRESSED: Final = 1
_COMPRESSIONS: Final = {
    2: "CCITT RLE compression",
    6: "old-style JPEG compression",
    34712: "JPEG 2000 compression",
    34887: "LERC compression",
    34925: "LZMA compression",
    50000: "Zstandard compression",
    50001: "WebP compression",
    50002: "JPEG XL compression",
}
_WHITE_IS_ZERO, _YCBCR = 0, 6
_COLOURS: Final = {
    8: "CIELAB colours",
    9: "ICCLAB colours",
    10: "ITULAB colours",
    32803: "sensor data",
    34892: "raw data",
}
_UNSIGNED, _VOID = 1, 4

Alpha: TypeAlias = Literal["none", "multiplied", "apart"]


def read_header(data: Encoded) -> Header:
    """Size, depth and orientation of the first page."""
    directory = _directory(data)
    width, height = directory.value(data, _WIDTH, 0), directory.value(data, _HEIGHT, 0)
    bits, channels = directory.value(data, _BITS, 1), directory.value(data, _SAMPLES, 1)
    if width == 0 or height == 0 or channels == 0 or bits == 0:
        raise unreadable(f"TIFF of {width} x {height} pixels with {channels} channels of {bits} bits")
    reason = _refusal(data, directory, bits, channels)
    if reason:
        raise unsupported(f"TIFF with {reason}")
    orientation = directory.value(data, ORIENTATION, 1)
    return Header(
        format="tiff",
        width=width,
        height=height,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        bits=bits,
        channels=channels,
    )


def _refusal(data: Encoded, directory: Directory, bits: int, channels: int) -> str | None:
    """What makes a page one that is not handled."""
    compression = directory.value(data, _COMPRESSION, _UNCOMPRESSED)
    colours = directory.value(data, _PHOTOMETRIC, _WHITE_IS_ZERO)
    if _DNG_VERSION in directory.fields:
        return "a camera's raw data (DNG)"
    if compression in _COMPRESSIONS or colours in _COLOURS:
        return _COMPRESSIONS.get(compression) or _COLOURS[colours]
    if directory.value(data, _SAMPLE_FORMAT, _UNSIGNED) not in (_UNSIGNED, _VOID):
        return "samples that are signed or floating-point numbers"
    if bits not in (1, 2, 4, 8, 16) or channels > 4:
        return f"{channels} channels of {bits} bits"
    if bits == 16 and (colours > 2 or (channels > 1 and directory.value(data, _PLANAR, 1) == 2)):
        return "16-bit samples that are not grey or interleaved RGB"
    return None


def _directory(data: Encoded) -> Directory:
    try:
        return read_directory(data)
    except ValueError as error:
        raise unreadable(str(error)) from error


def white_is_zero(data: Encoded) -> bool:
    """True for grey pages that count from white to black."""
    return _directory(data).value(data, _PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO


def without_meaning(data: Encoded) -> tuple[Encoded, Alpha]:
    """The page with orientation 1 and alpha declared unspecified, and what the alpha was.

    OpenCV hands pages to libtiff's RGBA interface, which applies orientation whether asked or not (and within each tile
    instead of the page) and multiplies colours by alpha that is stored apart. Without these two tags it does neither.
    """
    directory = _directory(data)
    alpha = directory.value(data, _EXTRA_SAMPLES, 0)
    if alpha == 0 and directory.value(data, ORIENTATION, 1) == 1:
        return data, "none"
    copy = bytearray(data)
    for tag, value in ((ORIENTATION, 1), (_EXTRA_SAMPLES, 0)):
        if tag in directory.fields:
            field = directory.fields[tag]
            pack_into(directory.order + field.code, copy, field.offset, value)
    return memoryview(copy), "multiplied" if alpha == 1 else "apart" if alpha == 2 else "none"


def check_whole(data: Encoded, header: Header) -> None:
    """There are as many strips or tiles as the picture needs and each lies within the bytes."""
    directory = _directory(data)
    for tag in _NEEDED & directory.fields.keys():
        _check_listed(data, directory, tag)
    tiled = _TILE_OFFSETS in directory.fields
    needed = _segments(data, directory, header, tiled)
    starts = _array(data, directory, _TILE_OFFSETS if tiled else _STRIP_OFFSETS)[:needed]
    lengths = _array(data, directory, _TILE_BYTES if tiled else _STRIP_BYTES)[:needed]
    if len(starts) < needed:
        raise truncated(f"TIFF with {len(starts)} of {needed} strips or tiles")
    if len(lengths) < needed:
        lengths = np.ones(needed, np.uint64)  # some writers leave the lengths out; decoding tells the rest
    if max(starts.max(), lengths.max(), (starts + lengths).max()) > len(data):
        raise truncated(f"TIFF with strips or tiles beyond its {len(data)} bytes")
    plain = directory.value(data, _COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED
    if plain and not tiled and directory.value(data, _PHOTOMETRIC, 0) != _YCBCR:
        _check_uncompressed(header, len(data) - int(starts.min()))


def strips(data: Encoded, header: Header) -> Strips | None:
    """How the page's pixels are stored; None where it is not known how many bytes they take."""
    directory = _directory(data)
    compression = directory.value(data, _COMPRESSION, _UNCOMPRESSED)
    subsampled = directory.value(data, _PHOTOMETRIC, 0) == _YCBCR and compression != JPEG
    if subsampled or directory.value(data, _FILL_ORDER, 1) != 1:
        return None
    tiled = _TILE_OFFSETS in directory.fields
    planes = header.channels if directory.value(data, _PLANAR, 1) == 2 else 1
    rows = min(directory.value(data, _ROWS_PER_STRIP, header.height) or header.height, header.height)
    starts = _array(data, directory, _TILE_OFFSETS if tiled else _STRIP_OFFSETS).tolist()
    lengths = _array(data, directory, _TILE_BYTES if tiled else _STRIP_BYTES).tolist()
    return Strips(
        compression=compression,
        width=directory.value(data, _TILE_WIDTH, 0) if tiled else header.width,
        height=directory.value(data, _TILE_HEIGHT, 0) if tiled else rows,
        planes=planes,
        bits=header.bits * header.channels // planes,
        palette=_COLOUR_MAP in directory.fields,
        spans=tuple(zip(starts, lengths, strict=False)),
    )


def _check_uncompressed(header: Header, there: int) -> None:
    """Strips may overlap, so this is no proof; short of it, however, pixels are missing for sure."""
    needed = (header.width * header.channels * header.bits + 7) // 8 * header.height
    if there < needed:
        raise truncated(f"TIFF whose pixels need {needed} bytes, {there} are there")


def _check_listed(data: Encoded, directory: Directory, tag: int) -> None:
    field = directory.fields[tag]
    if field.offset + field.count * calcsize(f"={field.code}") > len(data):
        raise truncated(f"TIFF whose tag {tag} has {field.count} values that are not all there")


def _segments(data: Encoded, directory: Directory, header: Header, tiled: bool) -> int:
    planes = header.channels if directory.value(data, _PLANAR, 1) == 2 else 1
    if tiled:
        width, height = directory.value(data, _TILE_WIDTH, 0), directory.value(data, _TILE_HEIGHT, 0)
        if width == 0 or height == 0:
            raise unreadable("TIFF tiles without a size")
        return -(-header.width // width) * -(-header.height // height) * planes
    rows = directory.value(data, _ROWS_PER_STRIP, header.height) or header.height
    return -(-header.height // rows) * planes


def _array(data: Encoded, directory: Directory, tag: int) -> npt.NDArray[np.uint64]:
    """All values of a tag."""
    field = directory.fields.get(tag)
    if field is None:
        return np.empty(0, np.uint64)
    kind = np.dtype(f"{directory.order}{field.code}")
    return np.frombuffer(data, kind, field.count, field.offset).astype(np.uint64)
