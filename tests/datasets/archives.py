"""Tar archives for tests: from `tarfile`, and block by block where `tarfile` would not write such a thing."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

BLOCK = 512
END = bytes(2 * BLOCK)


def written(
    members: Iterable[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT, *, encoding: str = "utf-8"
) -> bytes:
    """An archive of regular files as Python's tarfile writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, encoding=encoding) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def header(
    name: bytes = b"a.jpg", size: int | bytes = 0, kind: bytes = b"0", magic: bytes = b"ustar\x0000", **more: bytes
) -> bytes:
    """One header block with a right checksum; `more` are raw fields: `prefix`, `tail` (from byte 345 on)."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(BLOCK)
    block[0 : min(len(name), 100)] = name[:100]
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(field)] = field
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257 : 257 + len(magic)] = magic
    rest = more.get("prefix", more.get("tail", b""))
    block[345 : 345 + len(rest)] = rest
    return checksummed(block)


def checksummed(block: bytearray, *, signed: bool = False) -> bytes:
    block[148:156] = b" " * 8
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % (total % 8**6)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes, **more: bytes) -> bytes:
    return header(name, len(data), **more) + padded(data)


def pax(*records: tuple[str, str]) -> bytes:
    """A PAX extended header with these records."""
    content = b""
    for key, value in records:
        body = f" {key}={value}\n".encode()
        length = len(body)
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        content += str(length).encode() + body
    return header(b"PaxHeaders/x", len(content), b"x") + padded(content)
