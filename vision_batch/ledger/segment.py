"""Segments of the plan: numbered files, each written once, that say which shards an output was planned with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import pyarrow as pa

from vision_batch.datasets.shard import Shard
from vision_batch.errors import LedgerError, NotFoundError
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.sealed_table import decode_table, encode_table
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, relative_to

EntryKind = Literal["shard", "empty", "gone"]

FILE = pa.struct([("name", pa.binary()), ("size_bytes", pa.int64()), ("version", pa.string())])
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
        ("files", pa.list_(FILE)),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a segment.

    `shard`: this shard is planned as it is here. `empty`: its only file was read and holds no shard. `gone`: its only
    file is no longer in the input. The latter two carry a shard without a key, for the file.
    """

    kind: EntryKind
    shard: Shard


def read_segments(paths: LedgerPaths) -> list[list[Entry]]:
    """Every segment, in order; LedgerError when one is missing or damaged."""
    storage = storage_for(paths.plan)
    try:
        numbered = sorted(
            (number, info)
            for info in storage.list(paths.plan)
            if (number := paths.segment_number(info.uri)) is not None
        )
    except NotFoundError:
        return []
    if [number for number, _ in numbered] != list(range(1, len(numbered) + 1)):
        raise LedgerError(paths.plan, f"a segment of the plan is missing among {[n for n, _ in numbered]}")
    return [_decode(info.uri, storage.read(info.uri)) for _, info in numbered]


def write_segment(paths: LedgerPaths, number: int, entries: Sequence[Entry]) -> None:
    """Appends a segment; ExistsError when another planner has written this number."""
    uri = paths.segment(number)
    storage_for(uri).put(uri, encode_segment(entries), if_absent=True, scratch=paths.scratch)


def encode_segment(entries: Sequence[Entry]) -> bytes:
    """Column by column; file names are relative to their shard's root."""
    shards = [entry.shard for entry in entries]
    columns = [
        [entry.kind for entry in entries],
        [shard.key for shard in shards],
        [shard.input_name for shard in shards],
        [_encode_name(shard.root) for shard in shards],
        [shard.format for shard in shards],
        [None if shard.row_groups is None else shard.row_groups[0] for shard in shards],
        [None if shard.row_groups is None else shard.row_groups[1] for shard in shards],
        [shard.first_row for shard in shards],
        [shard.rows for shard in shards],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=False)]
    return encode_table(pa.Table.from_arrays([*arrays, _files_array(shards)], schema=SCHEMA))


def decode_segment(data: bytes) -> list[Entry]:
    """What `encode_segment` was given; ValueError when the bytes are damaged."""
    table = decode_table(data, SCHEMA)
    columns = {name: table.column(name).to_pylist() for name in SCHEMA.names[:-1]}
    lists = table.column("files").combine_chunks()
    names, sizes, versions = (child.to_pylist() for child in lists.flatten().flatten())
    entries, start = [], 0
    for index, count in enumerate(lists.value_lengths().to_pylist()):
        root = _decode_name(columns["root"][index])
        files = tuple(
            ObjectInfo(uri=_below(root, _decode_name(names[at])), size_bytes=sizes[at], version=versions[at])
            for at in range(start, start + count)
        )
        start += count
        group_start, group_stop = columns["row_group_start"][index], columns["row_group_stop"][index]
        shard = Shard(
            key=columns["key"][index],
            input_name=columns["input_name"][index],
            root=root,
            format=columns["format"][index],
            files=files,
            row_groups=None if group_start is None else (group_start, group_stop),
            first_row=columns["first_row"][index],
            rows=columns["rows"][index],
        )
        entries.append(Entry(kind=columns["kind"][index], shard=shard))
    return entries


def _files_array(shards: Sequence[Shard]) -> pa.Array:
    offsets = [0]
    for shard in shards:
        offsets.append(offsets[-1] + len(shard.files))

    def files() -> Iterable[tuple[Shard, ObjectInfo]]:
        return chain.from_iterable(((shard, file) for file in shard.files) for shard in shards)

    children = [
        pa.array([_encode_name(relative_to(file.uri, shard.root)) for shard, file in files()], pa.binary()),
        pa.array([file.size_bytes for _, file in files()], pa.int64()),
        pa.array([file.version for _, file in files()], pa.string()),
    ]
    structs = pa.StructArray.from_arrays(children, fields=list(FILE))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)


def _encode_name(name: str) -> bytes:
    """File names need not be Unicode: Python carries their odd bytes as surrogates, which Arrow's strings refuse."""
    return name.encode("utf-8", "surrogateescape")


def _decode_name(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _below(root: str, name: str) -> str:
    return join(root, name) if name else root


def _decode(uri: str, data: bytes) -> list[Entry]:
    try:
        return decode_segment(data)
    except (ValueError, pa.ArrowException) as error:
        raise LedgerError(uri, f"a segment of the plan cannot be read: {error}") from error
