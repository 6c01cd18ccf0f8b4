"""Segments of the plan: numbered files, each written once, that say which shards an output was planned with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from vision_batch.datasets.shard import Group, Shard
from vision_batch.errors import LedgerError, NotFoundError
from vision_batch.ledger.file_name import decode_below, decode_name, encode_below, encode_name
from vision_batch.ledger.paths import WAY_OUT, LedgerPaths
from vision_batch.ledger.sealed_table import decode_table, encode_table
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for

EntryKind = Literal["shard", "empty", "gone", "pruned"]

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("key", pa.string()),
        ("input_name", pa.string()),
        ("root", pa.binary()),
        ("format", pa.string()),
        ("row_group_start", pa.int64()),
        ("row_group_stop", pa.int64()),
        ("first_row", pa.int64()),
        ("rows", pa.int64()),
        ("name", pa.binary()),  # of the shard's file, relative to the root; null for a group
        ("size_bytes", pa.int64()),
        ("version", pa.string()),  # of the file or the group
        ("members", pa.string()),  # where a group's files are written: object, first byte, the byte after the last
        ("members_start", pa.int64()),
        ("members_stop", pa.int64()),
    ]
)
REPEATED = frozenset({"kind", "input_name", "root", "format", "members"})
"""Columns of few values: many shards share one Python object."""
SAME = ("key", "input_name", "root", "format", "first_row", "rows")
"""Columns that are fields of a shard as they are."""
GROUP = ("version", "size_bytes", "members", "members_start", "members_stop")
"""Columns that make a group."""
LINES = 1 << 16
"""How many lines are Python objects of every column at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a segment.

    `shard`: this shard is planned as it is here. `empty`: its only file was read and holds no shard. `gone`: its only
    file is no longer in the input, and its rows stay. `pruned`: they go. The latter three carry a shard without a key,
    for the file.
    """

    kind: EntryKind
    shard: Shard


def read_segments(paths: LedgerPaths, keys: Iterable[str] | None = None) -> Iterator[Iterator[Entry]]:
    """Every segment, in order, or only the lines of these keys; LedgerError when one is missing or damaged."""
    storage = storage_for(paths.plan)
    try:
        numbered = sorted(
            (number, info)
            for info in storage.list(paths.plan)
            if (number := paths.segment_number(info.uri)) is not None
        )
    except NotFoundError:
        return
    if [number for number, _ in numbered] != list(range(1, len(numbered) + 1)):
        raise LedgerError(paths.plan, f"a segment of the plan is missing among {[n for n, _ in numbered]}; {WAY_OUT}")
    wanted = None if keys is None else pa.array(keys, pa.string())
    for _, info in numbered:
        yield _read(info.uri, wanted)


def write_segment(paths: LedgerPaths, number: int, entries: Sequence[Entry]) -> None:
    """Appends a segment; ExistsError when another planner has written this number."""
    uri = paths.segment(number)
    storage_for(uri).put(uri, encode_segment(entries), if_absent=True, scratch=paths.scratch)


def encode_segment(entries: Sequence[Entry]) -> bytes:
    """Column by column. A shard has one file, or is a group whose files are stored elsewhere."""
    arrays = [pa.array(column, field.type) for column, field in zip(_columns(entries), SCHEMA, strict=True)]
    return encode_table(pa.Table.from_arrays(arrays, schema=SCHEMA))


def _columns(entries: Sequence[Entry]) -> Iterator[list[Any]]:
    """The values of SCHEMA's columns; only one of them is there at a time."""
    shards = [entry.shard for entry in entries]
    groups = [shard.group for shard in shards]
    yield [entry.kind for entry in entries]
    yield [shard.key for shard in shards]
    yield [shard.input_name for shard in shards]
    yield [encode_name(shard.root) for shard in shards]
    yield [shard.format for shard in shards]
    yield [None if shard.row_groups is None else shard.row_groups[0] for shard in shards]
    yield [None if shard.row_groups is None else shard.row_groups[1] for shard in shards]
    yield [shard.first_row for shard in shards]
    yield [shard.rows for shard in shards]
    yield [None if shard.group else encode_below(shard.files[0].uri, shard.root) for shard in shards]
    yield [shard.size_bytes for shard in shards]
    yield [shard.group.version if shard.group else shard.files[0].version for shard in shards]
    yield [group and group.stored_in for group in groups]
    yield [group and group.start for group in groups]
    yield [group and group.stop for group in groups]


def decode_segment(data: bytes, keys: pa.Array | None = None) -> Iterator[Entry]:
    """What `encode_segment` was given, or its lines of `keys`; ValueError when the bytes are damaged."""
    table = decode_table(data, SCHEMA)
    if keys is not None:
        table = table.filter(pc.is_in(table.column("key"), value_set=keys))
    for batch in table.to_batches(max_chunksize=LINES):
        columns = {name: _values(name, batch.column(name)) for name in SCHEMA.names}
        files = map(_files, *(columns[name] for name in ("name", "root", "size_bytes", "version")))
        groups = map(_group, *(columns[name] for name in GROUP))
        row_groups = map(_row_groups, columns["row_group_start"], columns["row_group_stop"])
        same = zip(*(columns[name] for name in SAME), strict=True)
        yield from map(_entry, columns["kind"], same, files, groups, row_groups)


def _values(name: str, column: pa.Array) -> list[Any]:
    if name not in REPEATED:
        return column.to_pylist()  # type: ignore[no-any-return]
    encoded = column.dictionary_encode()
    values = [decode_name(value) if isinstance(value, bytes) else value for value in encoded.dictionary.to_pylist()]
    return [None if index is None else values[index] for index in encoded.indices.to_pylist()]


def _entry(
    kind: EntryKind,
    same: tuple[Any, ...],
    files: tuple[ObjectInfo, ...],
    group: Group | None,
    row_groups: tuple[int, int] | None,
) -> Entry:
    key, input_name, root, format, first_row, rows = same
    shard = Shard(
        key=key,
        input_name=input_name,
        root=root,
        format=format,
        files=files,
        group=group,
        row_groups=row_groups,
        first_row=first_row,
        rows=rows,
    )
    return Entry(kind=kind, shard=shard)


def _files(name: bytes | None, root: str, size_bytes: int, version: str) -> tuple[ObjectInfo, ...]:
    if name is None:
        return ()
    return (ObjectInfo(uri=decode_below(name, root), size_bytes=size_bytes, version=version),)


def _group(version: str, size_bytes: int, stored_in: str | None, start: int, stop: int) -> Group | None:
    if stored_in is None:
        return None
    return Group(version=version, size_bytes=size_bytes, stored_in=stored_in, start=start, stop=stop)


def _row_groups(start: int | None, stop: int | None) -> tuple[int, int] | None:
    return None if start is None or stop is None else (start, stop)


def _read(uri: str, keys: pa.Array | None) -> Iterator[Entry]:
    try:
        yield from decode_segment(storage_for(uri).read(uri), keys)
    except (ValueError, pa.ArrowException) as error:
        raise LedgerError(uri, f"a segment of the plan cannot be read: {error}; {WAY_OUT}") from error
