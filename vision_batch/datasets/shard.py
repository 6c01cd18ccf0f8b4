"""What the plan lists: a tar, a range of Parquet row groups, a group of files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from vision_batch.storage.object_info import ObjectInfo

PRUNED = ""
"""The version of a group's file that left the input and was pruned: its place remains, and nothing is read of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What the plan says of a group's files without naming each: whoever reads them loads them from the ledger.

    `version` changes when any of them does, `size_bytes` is their sum. They are written in the bytes [start, stop) of
    the ledger's file `stored_in`.
    """

    version: str
    size_bytes: int
    stored_in: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One shard of an input.

    `key` is its identity, unique within an output and free of anything that changes: the `shard` column. `files` are
    the objects that hold it, in reading order, each with the version that was planned; those of a `group` are absent
    until they are loaded. `row_groups` is the half-open range of a Parquet file's row groups. `first_row` is the
    number of the file's rows before them: ids count from the file's start, `row` from the shard's. `rows` is None
    until somebody has read the shard (a tar has no index).
    """

    key: str
    input_name: str
    root: str
    format: str
    files: tuple[ObjectInfo, ...] = ()
    group: Group | None = None
    row_groups: tuple[int, int] | None = None
    first_row: int = 0
    rows: int | None = None

    @property
    def source(self) -> str:
        """What an image never leaves: the file of a shard, whose images may move to another of its shards; a group."""
        return self.key if self.group is not None else self.files[0].uri

    @property
    def pruned_rows(self) -> frozenset[int]:
        """Rows that are not there, because their files were pruned; of a group known once its files are loaded."""
        return frozenset(row for row, file in enumerate(self.files) if file.version == PRUNED)

    @property
    def version(self) -> str:
        """Changes when any of the files does: hexadecimal, 32 digits."""
        if self.group is not None:
            return self.group.version
        facts = [(f.uri, f.size_bytes, f.version) for f in self.files]
        return hashlib.sha256(repr((facts, self.row_groups)).encode()).hexdigest()[:32]

    @property
    def size_bytes(self) -> int:
        """Of the files, encoded; a range of row groups counts its whole file."""
        return self.group.size_bytes if self.group is not None else sum(f.size_bytes for f in self.files)
