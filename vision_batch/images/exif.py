"""TIFF directories (TIFF 6.0, section 2; BigTIFF), which are also what EXIF is made of.

Readers use `struct.unpack_from` and indexing only, so that an offset or length that points past the end is always an
exception (struct.error, IndexError), never a short read. A directory holds at most 65,535 entries and is never followed
to the next one, so no input makes a loop.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from vision_batch.images.header import Encoded

ORIENTATION: Final = 0x0112
MAX_ENTRIES: Final = 65_535
_CODES: Final = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}  # 7 is bytes of no stated meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One entry: `offset` is where its `count` values of unsigned integer code `code` lie in the data."""

    code: str
    count: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The first directory of a TIFF: its byte order ("<" or ">") and its fields of unsigned integers by tag."""

    order: str
    fields: dict[int, Field]

    def values(self, data: Encoded, tag: int, *, limit: int) -> tuple[int, ...]:
        """The first `limit` values of a tag; empty if the directory has none. struct.error if they lie outside."""
        field = self.fields.get(tag)
        if field is None:
            return ()
        return struct.unpack_from(f"{self.order}{min(field.count, limit)}{field.code}", data, field.offset)

    def value(self, data: Encoded, tag: int, default: int) -> int:
        """The first value of a tag, or `default`."""
        return next(iter(self.values(data, tag, limit=1)), default)


def read_directory(data: Encoded) -> Directory:
    """The first directory of TIFF `data`. ValueError if this is no TIFF; struct.error if it ends early."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise ValueError("no TIFF byte order")
    version = struct.unpack_from(order + "H", data, 2)[0]
    if version == 42:
        start = struct.unpack_from(order + "I", data, 4)[0]
        count = struct.unpack_from(order + "H", data, start)[0]
        return _fields(data, order, start + 2, count, entry=struct.Struct(order + "HHI"), inline_bytes=4)
    if version == 43:
        start = struct.unpack_from(order + "Q", data, 8)[0]
        count = min(struct.unpack_from(order + "Q", data, start)[0], MAX_ENTRIES)
        return _fields(data, order, start + 8, count, entry=struct.Struct(order + "HHQ"), inline_bytes=8)
    raise ValueError(f"TIFF version {version}")


def _fields(data: Encoded, order: str, start: int, count: int, *, entry: struct.Struct, inline_bytes: int) -> Directory:
    pointer = struct.Struct(order + ("I" if inline_bytes == 4 else "Q"))
    fields: dict[int, Field] = {}
    for offset in range(start, start + count * (entry.size + inline_bytes), entry.size + inline_bytes):
        tag, kind, length = entry.unpack_from(data, offset)
        at = offset + entry.size
        code = _CODES.get(kind)
        if code is None:
            continue
        if length * struct.calcsize(f"={code}") > inline_bytes:
            at = pointer.unpack_from(data, at)[0]
        # Of a tag given twice libtiff takes the first: the dimensions checked must be those it will decode.
        fields.setdefault(tag, Field(code=code, count=length, offset=at))
    return Directory(order=order, fields=fields)


def exif_orientation(exif: Encoded) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none or the EXIF data makes no sense."""
    try:
        directory = read_directory(exif)
        value = directory.value(exif, ORIENTATION, 1)
    except (ValueError, IndexError, struct.error):
        return 1
    return value if 1 <= value <= 8 else 1
