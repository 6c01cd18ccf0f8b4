"""What the plan lists: a tar, a range of Parquet row groups, a group of files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from vision_batch.storage.object_info import ObjectInfo


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One shard of an input.

    `key` is its identity, unique within an output and free of anything that changes: the `shard` column. `files` are
    the objects that hold it, in reading order, each with the version that was planned. `row_groups` is the half-open
    range of a Parquet file's row groups. `first_row` is the number of the file's rows before them: ids count from the
    file's start, `row` from the shard's. `rows` is None until somebody has read the shard (a tar has no index).
    """

    key: str
    input_name: str
    root: str
    format: str
    files: tuple[ObjectInfo, ...]
    row_groups: tuple[int, int] | None = None
    first_row: int = 0
    rows: int | None = None

    @cached_property
    def version(self) -> str:
        """Changes when any of the files does: hexadecimal, 32 digits."""
        facts = [(f.uri, f.size_bytes, f.version) for f in self.files]
        return hashlib.sha256(repr((facts, self.row_groups)).encode()).hexdigest()[:32]

    @property
    def size_bytes(self) -> int:
        """Of the files, encoded; a range of row groups counts its whole file."""
        return sum(f.size_bytes for f in self.files)
