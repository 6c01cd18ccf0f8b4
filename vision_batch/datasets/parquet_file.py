"""One Parquet file: its footer, and the batches of its row groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.errors import Problem, SpecError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for

WHOLE_BYTES = 64 << 20
"""Row groups whose needed columns are at most this large, as stored, are read column by column, others in pieces."""
PIECE_BYTES = 4 << 20
BATCH_BYTES = 4 << 20
BATCH_ROWS = 256


class ParquetDamage(Exception):
    """Arrow cannot read the file, or what is asked for of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a file says of itself."""

    metadata: pq.FileMetaData
    schema: pa.Schema
    group_rows: tuple[int, ...]
    """Rows of each row group."""


@lru_cache(maxsize=16)
def read_footer(file: ObjectInfo) -> Footer:
    """The footer of this version of a file; ParquetDamage if there is none, or one that contradicts itself."""
    with storage_for(file.uri).open(file) as stream, _arrow_reads(file):
        parquet = pq.ParquetFile(stream, pre_buffer=False)
        metadata, schema = parquet.metadata, parquet.schema_arrow
        group_rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
        [str(field) for field in schema]  # a name that is not UTF-8 fails here
    if any(rows < 0 for rows in group_rows) or sum(group_rows) != metadata.num_rows:
        raise ParquetDamage(f"row groups of {group_rows[:10]} rows in a file of {metadata.num_rows}")
    return Footer(metadata=metadata, schema=schema, group_rows=group_rows)


class ParquetReader:
    """The row groups of an open file, as batches of some columns."""

    def __init__(self, parquet: pq.ParquetFile, file: ObjectInfo, footer: Footer, columns: list[str]) -> None:
        self._parquet = parquet
        self._file = file
        self._footer = footer
        self._columns = columns

    def rows(self, group: int) -> int:
        """How many rows the footer promises in a row group."""
        return self._footer.group_rows[group]

    def batches(self, group: int) -> Iterator[pa.RecordBatch]:
        """A row group from its start, always cut alike; ParquetDamage where it is unreadable or ends early."""
        missing = self.rows(group)
        size_bytes = self._footer.metadata.row_group(group).total_byte_size
        batch_rows = min(max(BATCH_BYTES * missing // max(size_bytes, 1), 1), BATCH_ROWS)
        with _arrow_reads(self._file):
            batches = self._parquet.iter_batches(batch_rows, [group], self._columns, use_threads=False)
        while missing:
            with _arrow_reads(self._file):
                batch = next(batches, None)
                if batch is None:
                    raise ParquetDamage(f"{missing} rows fewer than the footer promises")
            yield batch[:missing]
            missing -= min(missing, len(batch))


@contextmanager
def open_parquet(
    file: ObjectInfo, footer: Footer, groups: tuple[int, int], columns: list[str]
) -> Iterator[ParquetReader]:
    """A reader of the top-level `columns` of the row groups [start, stop) of a file."""
    whole = max((_stored_bytes(footer, group, columns) for group in range(*groups)), default=0) <= WHOLE_BYTES
    with storage_for(file.uri).open(file) as stream:
        parquet = pq.ParquetFile(
            stream, metadata=footer.metadata, pre_buffer=False, buffer_size=0 if whole else PIECE_BYTES
        )
        yield ParquetReader(parquet, file, footer, columns)


def _stored_bytes(footer: Footer, group: int, columns: list[str]) -> int:
    chunks = footer.metadata.row_group(group)
    return sum(
        chunk.total_compressed_size
        for chunk in map(chunks.column, range(chunks.num_columns))
        if any(chunk.path_in_schema == name or chunk.path_in_schema.startswith(f"{name}.") for name in columns)
    )


@contextmanager
def _arrow_reads(file: ObjectInfo) -> Iterator[None]:
    """Arrow's complaints about a file are damage; the storage's errors pass through Arrow as they are."""
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ParquetDamage(str(error)) from error
    except ValueError as error:  # from an extension type that another library has registered
        raise SpecError(
            Problem(file.uri, f"a column whose type cannot be loaded: {error}", "plain Arrow types")
        ) from error
