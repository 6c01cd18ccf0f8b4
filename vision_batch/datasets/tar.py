"""Tar archives as a stream of regular members: nothing is extracted, nothing but names and bytes is believed.

Formats: V7, ustar, PAX (`path` and `size` of extended headers; global headers are ignored) and GNU (long names,
base-256 sizes, sparse files). Links, devices, folders, sparse and unknown kinds of members are passed over. What is not
asked for is not read.

The archive ends at a zero block that only zeros follow, or where the file ends between two members. Everything else
is damage, also data after the end: it would be lost without a word. Behind damage reading goes on at the next block
that is a header beyond doubt (as GNU tar's does), so that a broken header costs its own member only. Such a block may
be one of an archive within the damaged member, whose members then count as the archive's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import BinaryIO, Literal, cast

from vision_batch.datasets.tar_header import (
    BLOCK,
    find_header,
    has_checksum,
    name_of,
    padded,
    pax_records,
    pax_size,
    size_of,
)

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
    """No member can be read at byte `offset`: `truncated` if the bytes end before it does, else `unreadable`.

    `resume` is the byte from which on the next header is searched for.
    """

    def __init__(self, code: Literal["truncated", "unreadable"], offset: int, reason: str, *, resume: int) -> None:
        super().__init__(reason)
        self.code: Literal["truncated", "unreadable"] = code
        self.offset = offset
        self.reason = reason
        self.resume = resume


class ShortFileError(Exception):
    """The file ended before the size that it was said to have."""


@dataclass(slots=True)
class TarMember:
    """One regular file of an archive; `offset` is where its data begins, `begin` where its first header does."""

    name: bytes
    offset: int
    size_bytes: int
    begin: int


@dataclass(slots=True)
class _Extended:
    """What extension headers say of the member after them."""

    name: bytes = b""
    size: int | None = None
    sparse: bool = False
    pending: bool = False


class TarReader:
    """Iterates over the members of `file`, which is `size_bytes` long; `read` gives the latest member's bytes.

    It begins at byte `begin`, where `file` has to stand, and the end may be that of any member: so it reads a cutting.
    Where the archive is damaged, a TarDamage stands in the members' place. Both raise ShortFileError, and what the file
    raises. Where an archive is damaged is decided by its headers and its size alone: it does not depend on which
    members are read.
    """

    def __init__(self, file: BinaryIO, size_bytes: int, begin: int = 0) -> None:
        self._file = cast(BufferedIOBase, file)
        self._size = size_bytes
        self._buffer = memoryview(bytearray(READ_BYTES))  # the window: one buffer, since fresh memory costs page faults
        self._begin = self._start = begin  # of the window in the file
        self._filled = 0  # bytes of the window; the file stands behind them

    def __iter__(self) -> Iterator[TarMember | TarDamage]:
        at: int | None = self._begin
        while at is not None:
            try:
                yield from self._members(at)
            except TarDamage as damage:
                yield damage
                at = self._next_header(damage.resume)
            else:
                return

    def _members(self, at: int) -> Iterator[TarMember]:
        """From the header at byte `at` to the end of the archive. TarDamage."""
        extended, begin = _Extended(), at
        while (header := self._header(at)) is not None:
            kind, size, data_at = header[156], size_of(header), at + BLOCK
            if size is None:
                raise TarDamage("unreadable", at, "no tar header is there: its size is not a number", resume=data_at)
            if kind in EXTENSIONS:
                self._extend(extended, kind, data_at, size)
                at = data_at + padded(size)
                continue
            if extended.size is not None:
                size = extended.size
            if kind == SPARSE:
                data_at = self._after_sparse_maps(header, data_at)
            if kind in WITHOUT_DATA:
                size = 0
            name = extended.name or name_of(header)
            if data_at + size > self._size:
                reason = f"member {_shown(name)} ends beyond the archive's {self._size} bytes"
                raise TarDamage("truncated", at, reason, resume=data_at)
            if kind in REGULAR and not extended.sparse:
                yield TarMember(name, data_at, size, begin)
            at, extended = data_at + padded(size), _Extended()
            begin = at
        if extended.pending:
            raise TarDamage("truncated", at, "no member follows a long name or PAX header", resume=self._size)

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
            raise TarDamage(
                "truncated", at, f"the archive ends within a block, at byte {self._size}", resume=self._size
            )
        if not has_checksum(header):
            packed = at == 0 and header.startswith(COMPRESSED)
            reason = "it looks compressed; only plain tar is read" if packed else "no tar header is there"
            raise TarDamage("unreadable", at, reason, resume=at + BLOCK)
        return header

    def _next_header(self, at: int) -> int | None:
        """Where the first header behind damage lies, from byte `at` on; None if there is none."""
        while at < self._size:
            blocks = self._bytes(at, min(READ_BYTES // 2, self._size - at))
            found = find_header(blocks)
            if found is not None:
                return at + found
            at += len(blocks)
        return None

    def _demand_zeros(self, begin: int) -> None:
        at = begin
        while at < self._size:
            block = self._bytes(at, min(READ_BYTES // 2, self._size - at))
            if rest := block.lstrip(b"\0"):
                at += len(block) - len(rest)
                reason = "there is data after the block of zeros that ends an archive"
                raise TarDamage("unreadable", at, reason, resume=begin + (at - begin) // BLOCK * BLOCK)
            at += len(block)

    def _extend(self, extended: _Extended, kind: int, at: int, size: int) -> None:
        """Takes in what an extension header says, whose data begin at byte `at`. TarDamage."""
        if at + size > self._size:
            raise TarDamage("truncated", at - BLOCK, "a long name or PAX header ends beyond the archive", resume=at)
        if size > MAX_HEADER_BYTES:
            raise TarDamage("unreadable", at - BLOCK, f"a long name or PAX header of {size} bytes", resume=at)
        content = self._bytes(at, size)
        if kind == LONG_NAME:
            extended.name = content.partition(b"\0")[0]
        elif kind in PAX:
            records = pax_records(content)
            if records is None:
                reason = "a PAX header that is not well formed"
                raise TarDamage("unreadable", at - BLOCK, reason, resume=at + padded(size))
            extended.name = records.get(b"path", extended.name)
            if (digits := records.get(b"size")) is not None:
                extended.size = pax_size(digits)
                if extended.size is None:
                    reason = "a PAX header whose size is not a number"
                    raise TarDamage("unreadable", at - BLOCK, reason, resume=at + padded(size))
            extended.sparse |= any(key.startswith(b"GNU.sparse.") for key in records)
        extended.pending |= kind != PAX_GLOBAL

    def _after_sparse_maps(self, header: bytes, at: int) -> int:
        more = header[482]
        while more:
            if at + BLOCK > self._size:
                raise TarDamage("truncated", at, "a sparse file's map ends beyond the archive", resume=self._size)
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


def _shown(name: bytes) -> str:
    return repr(name[:200].decode("utf-8", "backslashreplace"))
