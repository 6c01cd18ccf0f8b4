"""The members of groups: which files a group of a folder has, stored beside the plan and read one group at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby, repeat

import pyarrow as pa

from vision_batch.datasets.shard import PRUNED, Group, Shard
from vision_batch.errors import ExistsError, LedgerError, NotFoundError
from vision_batch.ledger.file_name import decode_below, encode_below
from vision_batch.ledger.inspect import list_folder
from vision_batch.ledger.paths import WAY_OUT, LedgerPaths
from vision_batch.ledger.sealed_table import decode_table, encode_table
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import name

SCHEMA = pa.schema([("name", pa.binary()), ("size_bytes", pa.int64()), ("version", pa.string())])
NO_FILE = ObjectInfo(uri="", size_bytes=0, version=PRUNED)
OBJECT_BYTES = 4 << 20
"""About how much is written and read at once: the members of some 100,000 files."""


class MembersWriter:
    """Stores the members of groups as they come, many groups in one object.

    An object is named by its content and the `segment` that is to mention it: whoever plans the same writes the same,
    and what that segment does not mention, because another planner was faster, nobody ever will. `shards` are the
    groups that are stored, in the order in which they came, without their files; complete after `flush`. Without
    `write` nothing is stored.
    """

    def __init__(self, paths: LedgerPaths, segment: int, *, write: bool) -> None:
        self.shards: list[Shard] = []
        self._paths = paths
        self._segment = segment
        self._write = write
        self._blocks: list[bytes] = []
        self._size_bytes = 0
        self._waiting: list[tuple[Shard, Group]] = []

    def add(self, shard: Shard, files: Sequence[ObjectInfo]) -> None:
        """Takes a group with these files, whatever `shard` itself says of files and group."""
        block = encode_members(files, shard.root)
        rows = sum(file.version != PRUNED for file in files)
        group = Group(
            version=_version(files, shard.root),
            size_bytes=sum(file.size_bytes for file in files),
            stored_in="",
            start=self._size_bytes,
            stop=self._size_bytes + len(block),
        )
        self._waiting.append((replace(shard, files=(), rows=rows), group))
        self._blocks.append(block)
        self._size_bytes = group.stop
        if self._size_bytes >= OBJECT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Stores what waits."""
        if not self._blocks:
            return
        data = b"".join(self._blocks)
        stored_in = self._paths.members_name(self._segment, hashlib.sha256(data).hexdigest()[:32])
        if self._write:
            uri = self._paths.members(stored_in)
            with suppress(ExistsError):  # of the same content
                storage_for(uri).put(uri, data, if_absent=True, scratch=self._paths.scratch)
        self.shards += [replace(shard, group=replace(group, stored_in=stored_in)) for shard, group in self._waiting]
        self._blocks, self._waiting, self._size_bytes = [], [], 0


def collect_members(paths: LedgerPaths, segments: int, needed: Collection[str]) -> None:
    """Removes the objects of the first `segments` of a plan that are not among the `needed`, by name.

    When `needed` has all that the last lines of these segments mention, nothing that is removed is ever asked for
    again, however old this view of the plan is: later segments mention objects of their own.
    """
    for info in list_folder(paths.plan):
        segment = paths.members_segment(info.uri)
        if segment is not None and segment <= segments and name(info.uri) not in needed:
            storage_for(info.uri).delete(info.uri)


def load_members(paths: LedgerPaths, shard: Shard) -> Shard:
    """A group with its files; any other shard as it is. LedgerError when they are lost or damaged."""
    if shard.group is None or shard.files:
        return shard
    ((_, files),) = read_groups(paths, [shard])
    return replace(shard, files=files)


def load_members_table(paths: LedgerPaths, shard: Shard) -> pa.Table | None:
    """The files of a group as they are stored, for `with_members`; None for any other shard. LedgerError as above."""
    if shard.group is None:
        return None
    uri = paths.members(shard.group.stored_in)
    try:
        return decode_table(_read(uri, shard.group.start, shard.group.stop), SCHEMA)
    except (ValueError, pa.ArrowException) as error:
        raise LedgerError(uri, f"the members of {shard.key} cannot be read: {error}; {WAY_OUT}") from error


def with_members(shard: Shard, table: pa.Table | None, first: int, stop: int) -> Shard:
    """A group with its files [first, stop); at the other places are files of no name. Any other shard as it is.

    Whoever reads a few rows of many groups is spared a Python object for every other file.
    """
    if table is None:
        return shard
    files = _files(table.slice(first, stop - first), shard.root)
    return replace(shard, files=(*repeat(NO_FILE, first), *files, *repeat(NO_FILE, table.num_rows - stop)))


def read_groups(paths: LedgerPaths, shards: Iterable[Shard]) -> Iterator[tuple[Shard, tuple[ObjectInfo, ...]]]:
    """Groups, in order, each with its files; neighbours that are stored together are read at once.

    Memory is bounded by OBJECT_BYTES of encoded members. LedgerError when some are lost or damaged.
    """
    placed = ((shard, shard.group) for shard in shards if shard.group is not None)
    for stored_in, together in groupby(placed, key=lambda pair: pair[1].stored_in):
        pairs = list(together)
        first = min(group.start for _, group in pairs)
        uri = paths.members(stored_in)
        data = _read(uri, first, max(group.stop for _, group in pairs))
        for shard, group in pairs:
            yield shard, _decode(uri, data[group.start - first : group.stop - first], shard)


def encode_members(files: Sequence[ObjectInfo], root: str) -> bytes:
    """A sealed table, names relative to `root`."""
    columns = [
        pa.array([encode_below(file.uri, root) for file in files], pa.binary()),
        pa.array([file.size_bytes for file in files], pa.int64()),
        pa.array([file.version for file in files], pa.string()),
    ]
    return encode_table(pa.Table.from_arrays(columns, schema=SCHEMA))


def decode_members(data: bytes, root: str) -> tuple[ObjectInfo, ...]:
    """What `encode_members` was given; ValueError when the bytes are damaged."""
    return _files(decode_table(data, SCHEMA), root)


def _files(table: pa.Table, root: str) -> tuple[ObjectInfo, ...]:
    columns = (column.to_pylist() for column in table.columns)
    return tuple(
        ObjectInfo(uri=decode_below(name, root), size_bytes=size_bytes, version=version)
        for name, size_bytes, version in zip(*columns, strict=True)
    )


def _version(files: Sequence[ObjectInfo], root: str) -> str:
    """Hexadecimal, 32 digits."""
    facts = (root, [file.uri for file in files], [f.size_bytes for f in files], [file.version for file in files])
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _read(uri: str, start: int, stop: int) -> bytes:
    try:
        return storage_for(uri).read_range(uri, start, stop)
    except NotFoundError as error:
        raise LedgerError(uri, f"the members of a group of files are missing; {WAY_OUT}") from error


def _decode(uri: str, data: bytes, shard: Shard) -> tuple[ObjectInfo, ...]:
    try:
        files = decode_members(data, shard.root)
    except (ValueError, pa.ArrowException) as error:
        raise LedgerError(uri, f"the members of {shard.key} cannot be read: {error}; {WAY_OUT}") from error
    rows = sum(file.version != PRUNED for file in files)
    if rows != shard.rows:
        raise LedgerError(uri, f"holds {rows} members of {shard.key}, planned were {shard.rows}; {WAY_OUT}")
    return files
