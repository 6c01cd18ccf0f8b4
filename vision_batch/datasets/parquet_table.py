"""Any number of Parquet files as one table: a stream of batches of some columns, in the order of the files' names."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import pyarrow as pa

from vision_batch.datasets.listing import list_input
from vision_batch.datasets.parquet_file import (
    Footer,
    ParquetDamage,
    ParquetReader,
    open_parquet,
    parse_footer,
    read_footer,
    reader_of,
)
from vision_batch.errors import NotFoundError, PartError, Problem, SpecError, StorageError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import relative_to

BATCH_ROWS: Final = 1 << 16
BATCH_BYTES: Final = 32 << 20
SMALL_BYTES: Final = 1 << 20
"""Files up to here are fetched whole and many at once: an output's parts mostly are that small."""
SCHEMAS: Final = 64
"""How many files are asked for their columns: a column that is all null in the first ones has no type there."""
READERS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetTable:
    """Nothing of it is held but the names of its files.

    `schema` is the files' own; one may lack columns of the others, which are null in its rows.
    """

    uri: str
    files: tuple[ObjectInfo, ...]
    schema: pa.Schema

    @classmethod
    def open(cls, uri: str) -> ParquetTable:
        """Of a normalised URI: a file, a folder of files, or a glob. SpecError where there is none."""
        return cls.of(uri, parquet_files(uri))

    @classmethod
    def of(cls, uri: str, files: Iterable[ObjectInfo]) -> ParquetTable:
        """Of files that are known; SpecError where there is none, or where they do not go together."""
        files = tuple(files)
        if not files:
            raise SpecError(Problem(uri, "no Parquet file", "a Parquet file, or a folder of such"))
        return cls(uri=uri, files=files, schema=_schema(files))

    def batches(
        self, columns: Sequence[str], *, rows: int = BATCH_ROWS, schema: pa.Schema | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The named columns of all rows, of the types of `schema` (the table's own by default).

        A batch has at most `rows` rows and about 32 MiB. SpecError for a column that `schema` has not; PartError
        where a file is damaged.
        """
        schema = schema or self.schema
        if missing := [name for name in columns if name not in schema.names]:
            raise SpecError(Problem(self.uri, f"no column {', '.join(missing)}", f"of {', '.join(schema.names)}"))
        wanted = pa.schema([schema.field(name) for name in dict.fromkeys(columns)])
        for small, files in groupby(self.files, key=lambda file: file.size_bytes <= SMALL_BYTES):
            read = _small_batches if small else _large_batches
            for file, batch in read(files, wanted, rows):
                yield _conformed(batch, wanted, file)


def count_rows(files: Iterable[ObjectInfo]) -> int:
    """What the footers say, which are all read for it."""
    with ThreadPoolExecutor(READERS) as pool:
        return sum(pool.map(_rows, files))


def parquet_files(uri: str) -> Iterator[ObjectInfo]:
    """The Parquet files that a URI names; in a folder, what lies in one called `_…` is not its table."""
    listing = list_input(uri)
    try:
        for file in listing:
            folders = relative_to(file.uri, listing.root).split("/")[:-1]
            hidden = any(folder.startswith(("_", ".")) for folder in folders)
            if listing.file is not None or (file.uri.endswith(".parquet") and not hidden):
                yield file
    except NotFoundError as error:
        raise SpecError(Problem(uri, error.message, "a Parquet file, folder or glob")) from None


def _schema(files: Sequence[ObjectInfo]) -> pa.Schema:
    """The files' columns; SpecError where files do not go together."""
    schema = _footer_schema(files[0])
    for file in files[1:SCHEMAS]:
        if not any(pa.types.is_null(field.type) for field in schema):
            break
        try:
            schema = pa.unify_schemas([schema, _footer_schema(file)], promote_options="permissive")
        except pa.ArrowException as error:
            raise SpecError(Problem(file.uri, str(error), "the columns of the files before it")) from None
    return schema


def _footer_schema(file: ObjectInfo) -> pa.Schema:
    with _damage_of(file):
        return read_footer(file).schema.remove_metadata()


def _rows(file: ObjectInfo) -> int:
    with _damage_of(file):
        return int(read_footer(file).metadata.num_rows)


def _small_batches(
    files: Iterable[ObjectInfo], wanted: pa.Schema, rows: int
) -> Iterator[tuple[ObjectInfo, pa.RecordBatch]]:
    """Of files that are fetched whole, many at once."""
    listed = list(files)
    requests = (ReadRequest(uri=file.uri, version=file.version, size_bytes=file.size_bytes) for file in listed)
    found = storage_for(listed[0].uri).read_many(requests)
    for file, data in zip(listed, found, strict=True):
        if isinstance(data, StorageError):
            raise data
        with _damage_of(file):
            stream = io.BytesIO(data)
            footer = parse_footer(stream, file)
            reader = reader_of(stream, file, footer, _present(footer, wanted))
        yield from _batches(reader, file, footer, rows)


def _large_batches(
    files: Iterable[ObjectInfo], wanted: pa.Schema, rows: int
) -> Iterator[tuple[ObjectInfo, pa.RecordBatch]]:
    """Of files of which only the wanted columns are fetched, one after the other."""
    for file in files:
        with _damage_of(file):
            footer = read_footer(file)
        groups = (0, len(footer.group_rows))
        with open_parquet(file, footer, groups, _present(footer, wanted)) as reader:
            yield from _batches(reader, file, footer, rows)


def _batches(
    reader: ParquetReader, file: ObjectInfo, footer: Footer, rows: int
) -> Iterator[tuple[ObjectInfo, pa.RecordBatch]]:
    for group in range(len(footer.group_rows)):
        batches = reader.batches(group, most_rows=rows, most_bytes=BATCH_BYTES)
        while True:
            with _damage_of(file):
                batch = next(batches, None)
            if batch is None:
                break
            yield file, batch


def _present(footer: Footer, wanted: pa.Schema) -> list[str]:
    return [name for name in wanted.names if name in footer.schema.names]


def _conformed(batch: pa.RecordBatch, wanted: pa.Schema, file: ObjectInfo) -> pa.RecordBatch:
    """The batch with exactly the wanted columns; what its file lacks is null."""
    if batch.schema.equals(wanted):
        return batch
    present = set(batch.schema.names)
    try:
        columns = [
            batch.column(field.name).cast(field.type) if field.name in present else pa.nulls(len(batch), field.type)
            for field in wanted
        ]
    except pa.ArrowException as error:
        raise SpecError(Problem(file.uri, str(error), f"the columns {wanted.to_string()}")) from None
    return pa.record_batch(columns, schema=wanted)


@contextmanager
def _damage_of(file: ObjectInfo) -> Iterator[None]:
    """What Arrow cannot read is a damaged part."""
    try:
        yield
    except ParquetDamage as error:
        raise PartError(file.uri, str(error)) from error
