"""Tar archives as a stream of regular members: nothing is extracted, nothing but names and bytes is believed.

Formats: V7, ustar, PAX (`path` and `size` of extended headers; global headers are ignored) and GNU (long names,
base-256 sizes, sparse files), as POSIX.1-2017 `pax` and the GNU tar manual, "Basic Tar Format", lay them out. Links,
devices, folders, sparse and unknown kinds of members are passed over. What is not asked for is not read.

The archive ends at a zero block that only zeros follow, or where the file ends between two members. Everything else
is damage, also data after the end: it would be lost without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import BinaryIO, Literal, cast

BLOCK = 512
ZEROS = bytes(BLOCK)
READ_BYTES = 512 << 10
SEEK_BYTES = 256 << 10
"""Shorter gaps are read through: a seek may throw away what the storage has read ahead."""
MAX_HEADER_BYTES = 1 << 20
"""Of a long name or a PAX header."""

REGULAR = frozenset(b"0\x007")
WITHOUT_DATA = frozenset(b"123456")
SPARSE = ord("S")
LONG_NAME, LONG_LINK, PAX_GLOBAL = ord("L"), ord("K"), ord("g")
PAX = frozenset(b"xX")
EXTENSIONS = PAX | {LONG_NAME, LONG_LINK, PAX_GLOBAL}
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")


class TarDamage(Exception):
    """The archive cannot be read from byte `offset` on: `truncated` if its bytes end there, else `unreadable`."""

    def __init__(self, code: Literal["truncated", "unreadable"], offset: int, reason: str) -> None:
        super().__init__(reason)
        self.code: Literal["truncated", "unreadable"] = code
        self.offset = offset
        self.reason = reason


class ShortFileError(Exception):
    """The file ended before the size that it was said to have."""


@dataclass(slots=True)
class TarMember:
    """One regular file of an archive; `offset` is where its data begins."""

    name: bytes
    offset: int
    size_bytes: int


@dataclass(slots=True)
class _Extended:
    """What extension headers say of the member after them."""

    name: bytes = b""
    size: int | None = None
    sparse: bool = False
    pending: bool = False


class TarReader:
    """Iterates over the members of `file`, which is `size_bytes` long; `read` gives the latest member's bytes.

    Both raise TarDamage, ShortFileError, and what the file raises. Where an archive is damaged is decided by its
    headers and its size alone: it does not depend on which members are read.
    """

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = cast(BufferedIOBase, file)
        self._size = size_bytes
        self._buffer = memoryview(bytearray(READ_BYTES))  # the window: one buffer, since fresh memory costs page faults
        self._start = 0  # of the window in the file
        self._filled = 0  # bytes of the window; the file stands behind them

    def __iter__(self) -> Iterator[TarMember]:
        at, extended = 0, _Extended()
        while (header := self._header(at)) is not None:
            kind, size, data_at = header[156], _number(header[124:136], at), at + BLOCK
            if kind in EXTENSIONS:
                self._extend(extended, kind, data_at, size)
                at = data_at + _padded(size)
                continue
            if extended.size is not None:
                size = extended.size
            if kind == SPARSE:
                data_at = self._after_sparse_maps(header, data_at)
            if kind in WITHOUT_DATA:
                size = 0
            name = extended.name or _name(header)
            if data_at + size > self._size:
                raise TarDamage("truncated", at, f"member {_shown(name)} ends beyond the archive's {self._size} bytes")
            if kind in REGULAR and not extended.sparse:
                yield TarMember(name, data_at, size)
            at, extended = data_at + _padded(size), _Extended()
        if extended.pending:
            raise TarDamage("truncated", at, "no member follows a long name or PAX header")

    def read(self, member: TarMember) -> bytes:
        """The bytes of the member that the iteration gave last."""
        return self._bytes(member.offset, member.size_bytes)

    def _header(self, at: int) -> bytes | None:
        """The header block at byte `at`; None at the end of the archive."""
        if at == self._size:
            return None
        header = self._bytes(at, min(BLOCK, self._size - at)) if at < self._size else b""
        if header == ZEROS[: len(header)] and header:
            self._demand_zeros(at)
            return None
        if len(header) < BLOCK:
            raise TarDamage("truncated", at, f"the archive ends within a block, at byte {self._size}")
        _demand_checksum(header, at)
        return header

    def _demand_zeros(self, at: int) -> None:
        while at < self._size:
            block = self._bytes(at, min(READ_BYTES // 2, self._size - at))
            if rest := block.lstrip(b"\0"):
                at += len(block) - len(rest)
                raise TarDamage("unreadable", at, "there is data after the block of zeros that ends an archive")
            at += len(block)

    def _extend(self, extended: _Extended, kind: int, at: int, size: int) -> None:
        if at + size > self._size:
            raise TarDamage("truncated", at - BLOCK, "a long name or PAX header ends beyond the archive")
        if size > MAX_HEADER_BYTES:
            raise TarDamage("unreadable", at - BLOCK, f"a long name or PAX header of {size} bytes")
        content = self._bytes(at, size)
        if kind == LONG_NAME:
            extended.name = content.partition(b"\0")[0]
        elif kind in PAX:
            records = _pax_records(content, at)
            extended.name = records.get(b"path", extended.name)
            if (digits := records.get(b"size")) is not None:
                extended.size = _pax_size(digits, at)
            extended.sparse |= any(key.startswith(b"GNU.sparse.") for key in records)
        extended.pending |= kind != PAX_GLOBAL

    def _after_sparse_maps(self, header: bytes, at: int) -> int:
        more = header[482]
        while more:
            if at + BLOCK > self._size:
                raise TarDamage("truncated", at, "a sparse file's map ends beyond the archive")
            more, at = self._bytes(at + 504, 1)[0], at + BLOCK
        return at

    def _bytes(self, offset: int, count: int) -> bytes:
        """Bytes of the file, which are asked for in ascending order."""
        begin = offset - self._start
        if begin + count > self._filled:
            if count > READ_BYTES // 2:
                return self._large(begin, count)
            self._fill(begin, count)
            begin = 0
        return bytes(self._buffer[begin : begin + count])

    def _fill(self, begin: int, count: int) -> None:
        """Moves the window to `begin`, counted from its start, and reads at least `count` bytes into it."""
        kept = max(self._filled - begin, 0)
        self._buffer[:kept] = self._buffer[self._filled - kept : self._filled]
        self._pass_over(begin - self._filled)
        self._start, self._filled = self._start + begin, kept
        while self._filled < count:
            read = self._file.readinto(self._buffer[self._filled :])
            if not read:
                raise ShortFileError(f"it ends at byte {self._start + self._filled} of {self._size}")
            self._filled += read

    def _large(self, begin: int, count: int) -> bytes:
        """Reads past the window, and leaves it empty behind what was read."""
        kept = max(self._filled - begin, 0)
        parts = [bytes(self._buffer[self._filled - kept : self._filled])]
        self._pass_over(begin - self._filled)
        self._start, self._filled = self._start + begin + count, 0
        missing = count - kept
        while missing:
            parts.append(part := self._file.read(missing))
            if not part:
                raise ShortFileError(f"it ends at byte {self._start - missing} of {self._size}")
            missing -= len(part)
        return b"".join(parts)

    def _pass_over(self, gap: int) -> None:
        """Goes on by `gap` bytes from the window's end, which is where the file stands."""
        if gap > SEEK_BYTES:
            self._file.seek(self._start + self._filled + gap)
        elif gap > 0:
            self._file.read(gap)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _shown(name: bytes) -> str:
    return repr(name[:200].decode("utf-8", "backslashreplace"))


def _demand_checksum(header: bytes, at: int) -> None:
    """The sum of the header's bytes, its own field as spaces; some writers summed signed bytes."""
    stored = _number_or_none(header[148:156])
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if stored == total:
        return
    high_bytes = sum(byte >> 7 for byte in header[:148] + header[156:])
    if stored != total - 256 * high_bytes:
        packed = at == 0 and header.startswith(COMPRESSED)
        reason = "it looks compressed; only plain tar is read" if packed else "no tar header is there"
        raise TarDamage("unreadable", at, reason)


def _number(digits: bytes, at: int) -> int:
    number = _number_or_none(digits)
    if number is None:
        raise TarDamage("unreadable", at, "no tar header is there: its size is not a number")
    return number


def _number_or_none(digits: bytes) -> int | None:
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


def _pax_size(digits: bytes, at: int) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise TarDamage("unreadable", at - BLOCK, "a PAX header whose size is not a number")
    return int(digits)


def _pax_records(content: bytes, at: int) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE\\n` of an extended header; LENGTH counts the whole record."""
    records: dict[bytes, bytes] = {}
    begin = 0
    while begin < len(content) and content[begin]:
        length, space, _ = content[begin : begin + 20].partition(b" ")
        end = begin + int(length) if length.isdigit() else begin
        key, equals, value = content[begin + len(length) + 1 : end].partition(b"=")
        if not (space and equals and key) or end > len(content) or not value.endswith(b"\n"):
            raise TarDamage("unreadable", at - BLOCK, "a PAX header that is not well formed")
        records[key] = value[:-1]
        begin = end
    return records
