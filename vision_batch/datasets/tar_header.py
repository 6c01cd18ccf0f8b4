"""The header blocks of tar: V7, ustar, PAX (POSIX.1-2017 `pax`) and GNU ("Basic Tar Format" of the GNU tar manual)."""

from __future__ import annotations

from typing import Final

BLOCK: Final = 512
MAGIC: Final = b"ustar"
MAGIC_AT: Final = 257


def padded(size: int) -> int:
    """Bytes that so much data takes in an archive."""
    return -(-size // BLOCK) * BLOCK


def name_of(header: bytes) -> bytes:
    """The member's name, with its ustar prefix."""
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def has_checksum(header: bytes) -> bool:
    """Whether it holds the sum of its bytes, with spaces for the sum itself; some writers summed signed bytes."""
    stored = number_of(header[148:156])
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if stored == total:
        return True
    high_bytes = sum(byte >> 7 for byte in header[:148] + header[156:])
    return stored == total - 256 * high_bytes


def size_of(header: bytes) -> int | None:
    """Bytes of data behind the header; None for what is not a number, or below 0."""
    return number_of(header[124:136])


def number_of(digits: bytes) -> int | None:
    """A numeric field: octal text, or GNU's base 256 with the highest bit set; None for anything else."""
    if digits[0] == 0x80:
        return int.from_bytes(digits[1:], "big")
    text = digits.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    try:
        return int(text, 8) if text.isdigit() else None
    except ValueError:
        return None


def find_header(blocks: bytes) -> int | None:
    """Where among whole blocks the first ustar, PAX or GNU header begins: magic, checksum and size are right."""
    found = blocks.find(MAGIC, MAGIC_AT)
    while found >= 0:
        begin = found - MAGIC_AT
        if begin % BLOCK == 0:
            header = blocks[begin : begin + BLOCK]
            if len(header) == BLOCK and has_checksum(header) and size_of(header) is not None:
                return begin
        found = blocks.find(MAGIC, found + 1)
    return None


def pax_size(digits: bytes) -> int | None:
    """The value of a PAX header's `size`; None for what is not a number."""
    return int(digits) if digits.isdigit() and len(digits) <= 20 else None


def pax_records(content: bytes) -> dict[bytes, bytes] | None:
    """The records `LENGTH KEY=VALUE\\n` of an extended header; LENGTH counts the whole record. None if malformed."""
    records: dict[bytes, bytes] = {}
    begin = 0
    while begin < len(content) and content[begin]:
        length, space, _ = content[begin : begin + 20].partition(b" ")
        end = begin + int(length) if length.isdigit() else begin
        key, equals, value = content[begin + len(length) + 1 : end].partition(b"=")
        if not (space and equals and key) or end > len(content) or not value.endswith(b"\n"):
            return None
        records[key] = value[:-1]
        begin = end
    return records
