"""One Parquet file: its footer, and the batches of its row groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.datasets.parquet_nesting import nesting
from vision_batch.errors import Problem, SpecError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for

WHOLE_BYTES = 64 << 20
"""Row groups that are at most this large, uncompressed, are read column by column, others in pieces."""
PIECE_BYTES = 4 << 20
BATCH_BYTES = 4 << 20
BATCH_ROWS = 256
SAFE_LEVELS = 2000
"""Of a schema, for Arrow, which ends the process where its stack does: after 5,000 to 7,000 on one of 8 MiB."""
MOST_LEVELS = 100
"""Of a schema, for what comes after Arrow."""


class ParquetDamage(Exception):
    """Arrow cannot read the file, or what is asked for of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a file says of itself."""

    metadata: pq.FileMetaData
    schema: pa.Schema
    group_rows: tuple[int, ...]
    """Rows of each row group."""
    group_bytes: tuple[int, ...]
    """Bytes of each row group, uncompressed."""


@lru_cache(maxsize=16)
def read_footer(file: ObjectInfo) -> Footer:
    """The footer of this version of a file; ParquetDamage if there is none, or one that contradicts itself."""
    with storage_for(file.uri).open(file) as stream:
        return parse_footer(stream, file)


def parse_footer(stream: BinaryIO, file: ObjectInfo) -> Footer:
    """The footer of an open file; ParquetDamage if there is none, or one that contradicts itself."""
    with _arrow_reads(file):
        parquet = _opened(stream)
        metadata, schema = parquet.metadata, parquet.schema_arrow
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        [str(field) for field in schema]  # a name that is not UTF-8 fails here
    # Nothing asks for a group's columns: pyarrow ends the process where a footer's column chunk contradicts its schema.
    _demand_few_levels(schema)
    group_rows = tuple(group.num_rows for group in groups)
    if any(rows < 0 for rows in group_rows) or sum(group_rows) != metadata.num_rows:
        raise ParquetDamage(f"row groups of {group_rows[:10]} rows in a file of {metadata.num_rows}")
    group_bytes = tuple(group.total_byte_size for group in groups)
    return Footer(metadata=metadata, schema=schema, group_rows=group_rows, group_bytes=group_bytes)


def _opened(stream: BinaryIO) -> pq.ParquetFile:
    """An open file, whose schema is nested less deep than Arrow can bear: where it has few elements that is sure."""
    with suppress(OSError):
        return pq.ParquetFile(stream, pre_buffer=False, thrift_container_size_limit=SAFE_LEVELS)
    size_bytes = stream.seek(0, os.SEEK_END)
    footer_bytes = int.from_bytes(_last(stream, min(8, size_bytes))[:4], "little")
    footer = _last(stream, min(footer_bytes + 8, size_bytes))[:-8]
    try:
        levels = nesting(footer)
    except ValueError as error:
        raise ParquetDamage(str(error)) from error
    if levels > SAFE_LEVELS:
        raise ParquetDamage(f"its schema is nested {levels} levels deep")
    return pq.ParquetFile(stream, pre_buffer=False)


def _last(stream: BinaryIO, count: int) -> bytes:
    stream.seek(-count, os.SEEK_END)
    return stream.read(count)


def _demand_few_levels(schema: pa.Schema) -> None:
    types = [field.type for field in schema]
    for _ in range(MOST_LEVELS):
        types = [data_type.field(index).type for data_type in types for index in range(data_type.num_fields)]
    if types:
        raise ParquetDamage(f"its schema is nested more than {MOST_LEVELS} levels deep")


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

    def batches(
        self, group: int, *, most_rows: int = BATCH_ROWS, most_bytes: int = BATCH_BYTES
    ) -> Iterator[pa.RecordBatch]:
        """A row group from its start, always cut alike; ParquetDamage where it is unreadable or ends early."""
        missing = self.rows(group)
        fitting = most_bytes * missing // max(self._footer.group_bytes[group], 1)
        batch_rows = min(max(fitting, 1), most_rows)
        with _arrow_reads(self._file):
            batches = self._parquet.iter_batches(batch_rows, [group], self._columns, use_threads=False)
        while missing:
            with _arrow_reads(self._file):
                batch = next(batches, None)
                if batch is None:
                    raise ParquetDamage(f"{missing} rows fewer than the footer promises")
                _demand_valid_dictionaries(batch)
            yield batch[:missing]
            missing -= min(missing, len(batch))


@contextmanager
def open_parquet(
    file: ObjectInfo, footer: Footer, groups: tuple[int, int], columns: list[str], *, whole_bytes: int = WHOLE_BYTES
) -> Iterator[ParquetReader]:
    """A reader of the top-level `columns` of the row groups [start, stop) of a file."""
    whole = max(footer.group_bytes[slice(*groups)], default=0) <= whole_bytes
    with storage_for(file.uri).open(file) as stream:
        yield reader_of(stream, file, footer, columns, piece_bytes=0 if whole else PIECE_BYTES)


def reader_of(
    stream: BinaryIO, file: ObjectInfo, footer: Footer, columns: list[str], *, piece_bytes: int = 0
) -> ParquetReader:
    """A reader of the top-level `columns` of an open file; columns are read whole, or in pieces."""
    parquet = pq.ParquetFile(
        stream,
        metadata=footer.metadata,
        pre_buffer=False,
        buffer_size=piece_bytes,
        page_checksum_verification=True,  # where the file has them
    )
    return ParquetReader(parquet, file, footer, columns)


def _demand_valid_dictionaries(batch: pa.RecordBatch) -> None:
    """Arrow reads indices that lead out of their dictionary without a word."""
    for column in batch.columns:
        if _has_dictionary(column.type):
            column.validate(full=True)


def _has_dictionary(data_type: pa.DataType) -> bool:
    children = (data_type.field(index).type for index in range(data_type.num_fields))
    return bool(pa.types.is_dictionary(data_type)) or any(map(_has_dictionary, children))


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
