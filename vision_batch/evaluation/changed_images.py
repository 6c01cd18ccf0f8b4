"""The images that changed between two predictions, as a folder of Parquet files beside the comparison."""

from __future__ import annotations

import json
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.comparison import CHANGED, Comparison
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import is_inside, join, name, parent

ROWS: Final = 1 << 20
"""Of a file."""
SUMMARY: Final = "comparison.json"


class ChangedImages:
    """Writes `changed-000000.parquet` and so on into a folder, and `comparison.json` last; each whole or not at all.

    What an earlier comparison has left there is replaced.
    """

    def __init__(self, folder: str, *compared: str) -> None:
        """SpecError where the folder lies in what is compared: its readers would read the results too."""
        for uri in compared:
            if is_inside(folder, uri):
                raise SpecError(Problem("--to", folder, f"a folder that is not in {uri}"))
        self._folder = folder
        self._storage = storage_for(folder)
        self._held: list[pa.Table] = []
        self._rows = 0
        self._files = 0

    def add(self, table: pa.Table) -> None:
        """Takes in some images; a file is written when there are enough."""
        self._held.append(table)
        self._rows += len(table)
        if self._rows >= ROWS:
            self._write()

    def finish(self, comparison: Comparison) -> None:
        """Writes the rest, removes files of an earlier comparison, and writes the summary."""
        if self._held or not self._files:
            self._write()
        for file in list(self._storage.list(self._folder)):
            if self._is_old(file):
                self._storage.delete(file.uri)
        self._storage.put(join(self._folder, SUMMARY), json.dumps(comparison.as_dict(), indent=1).encode())

    def _is_old(self, file: ObjectInfo) -> bool:
        number = name(file.uri).removeprefix("changed-").removesuffix(".parquet")
        is_ours = name(file.uri) == _file_name(number) and parent(file.uri) == self._folder
        return is_ours and number.isdecimal() and int(number) >= self._files

    def _write(self) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.concat_tables([CHANGED.empty_table(), *self._held]), sink, compression="zstd")
        self._storage.put(join(self._folder, _file_name(f"{self._files:06d}")), bytes(sink.getvalue()))
        self._held, self._rows = [], 0
        self._files += 1


def _file_name(number: str) -> str:
    return f"changed-{number}.parquet"
