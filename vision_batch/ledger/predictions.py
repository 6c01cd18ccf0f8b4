"""The predictions of an output, or of any Parquet with its columns, as a stream of batches."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, TypeAlias

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
from vision_batch.ledger.definition import read_definition
from vision_batch.ledger.manifest import read_manifest
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.schema import COMMON_FIELDS
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import relative_to

PredictionKind: TypeAlias = Literal["classification", "multi_label", "detection", "segmentation", "embedding"]

KIND_COLUMNS: Final[dict[PredictionKind, str]] = {
    "embedding": "embedding",
    "segmentation": "mask_png",
    "detection": "boxes",
    "multi_label": "labels",
    "classification": "label",
}
"""The column that tells the kind; of a table that has several the first one here."""

BATCH_ROWS: Final = 1 << 16
BATCH_BYTES: Final = 32 << 20
SMALL_BYTES: Final = 1 << 20
"""Files up to here are fetched whole and many at once: an output's parts mostly are that small."""
SCHEMAS: Final = 64
"""How many files are asked for their columns: a column that is all null in the first ones has no type there."""
READERS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A table of predictions, one row per image; nothing of it is held but the names of its files.

    `schema` has every common column of an output, also those that a foreign table lacks: they are null. `labels` are
    the model's, class index to name, where `output` (the ledger; None for a foreign table) knows them.
    """

    uri: str
    files: tuple[ObjectInfo, ...]
    schema: pa.Schema
    kind: PredictionKind
    labels: tuple[str, ...] | None
    output: LedgerPaths | None

    @classmethod
    def open(cls, uri: str) -> Predictions:
        """Of a normalised URI: an output, or a Parquet file, a folder of such, or a glob.

        SpecError where there is none, and where its columns are not those of predictions.
        """
        paths = LedgerPaths(uri.rstrip("/"))
        claimed = read_definition(paths)
        files = tuple(_output_files(paths) if claimed else _parquet_files(uri))
        if not files:
            raise SpecError(Problem(uri, "no Parquet file", "an output that has rows, or Parquet with its columns"))
        found = _schema(files)
        return cls(
            uri=uri,
            files=files,
            schema=pa.schema(list(({field.name: field for field in (*COMMON_FIELDS, *found)}).values())),
            kind=_kind(uri, found),
            labels=claimed.labels if claimed else None,
            output=paths if claimed else None,
        )

    @property
    def rows(self) -> int:
        """How many rows there are, from the manifest or the files' footers, which are read for it."""
        parts = read_manifest(self.output).values() if self.output else ()
        known = {part.info: part.record.rows for part in parts}
        unknown = [file for file in self.files if file not in known]
        with ThreadPoolExecutor(READERS) as pool:
            return sum(known.get(file, 0) for file in self.files) + sum(pool.map(_rows, unknown))

    def batches(self, columns: Sequence[str], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """The named columns of all rows, error rows too, in the order of the files' names.

        A batch has at most `rows` rows and about 32 MiB, and the types of `schema`. SpecError for a column that the
        table has not; PartError where a file is damaged.
        """
        if missing := [name for name in columns if name not in self.schema.names]:
            raise SpecError(Problem(self.uri, f"no column {', '.join(missing)}", f"of {', '.join(self.schema.names)}"))
        wanted = pa.schema([self.schema.field(name) for name in dict.fromkeys(columns)])
        for small, files in groupby(self.files, key=lambda file: file.size_bytes <= SMALL_BYTES):
            read = _small_batches if small else _large_batches
            for file, batch in read(files, wanted, rows):
                yield _conformed(batch, wanted, file)


def _output_files(paths: LedgerPaths) -> Iterator[ObjectInfo]:
    """The parts, without what else lies in the output's tree."""
    return (file for file in storage_for(paths.output).list(paths.output) if paths.is_table_file(file.uri))


def _parquet_files(uri: str) -> Iterator[ObjectInfo]:
    """The Parquet files that a URI names; in a folder, what lies in one called `_…` is not its table."""
    listing = list_input(uri)
    try:
        for file in listing:
            folders = relative_to(file.uri, listing.root).split("/")[:-1]
            hidden = any(folder.startswith(("_", ".")) for folder in folders)
            if listing.file is not None or (file.uri.endswith(".parquet") and not hidden):
                yield file
    except NotFoundError as error:
        raise SpecError(Problem(uri, error.message, "an output, or a Parquet file, folder or glob")) from None


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


def _kind(uri: str, schema: pa.Schema) -> PredictionKind:
    for kind, column in KIND_COLUMNS.items():
        if column in schema.names and "image_id" in schema.names:
            return kind
    expected = f"image_id and one of {', '.join(KIND_COLUMNS.values())}"
    raise SpecError(Problem(uri, f"the columns {', '.join(schema.names)}", expected))


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
