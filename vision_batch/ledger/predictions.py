"""The predictions of an output, or of any Parquet with its columns, as a stream of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from vision_batch.datasets.parquet_table import BATCH_ROWS, ParquetTable, count_rows
from vision_batch.errors import Problem, SpecError
from vision_batch.ledger.definition import read_definition
from vision_batch.ledger.manifest import read_manifest
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.schema import COMMON_FIELDS
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.tasks.settings import Kind

KIND_COLUMNS: Final[dict[Kind, str]] = {
    "embedding": "embedding",
    "segmentation": "mask_png",
    "detection": "boxes",
    "multi_label": "labels",
    "classification": "label",
}
"""The column that tells the kind; of a table that has several the first one here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A table of predictions, one row per image; nothing of it is held but the names of its files.

    `schema` has every common column of an output, also those that a foreign table lacks: they are null. `labels` are
    the model's, class index to name, where `output` (the ledger; None for a foreign table) knows them.
    """

    table: ParquetTable
    schema: pa.Schema
    kind: Kind
    labels: tuple[str, ...] | None
    output: LedgerPaths | None

    @classmethod
    def open(cls, uri: str) -> Predictions:
        """Of a normalised URI: an output, or a Parquet file, a folder of such, or a glob.

        SpecError where there is none, and where its columns are not those of predictions.
        """
        paths = LedgerPaths(uri.rstrip("/"))
        claimed = read_definition(paths)
        parts = tuple(_parts(paths)) if claimed else ()
        if claimed and not parts:
            raise SpecError(
                Problem(uri, "an output without a row", "that of a predict job with rows: run its spec again")
            )
        table = ParquetTable.of(uri, parts) if claimed else ParquetTable.open(uri)
        fields = {field.name: field for field in (*COMMON_FIELDS, *table.schema)}
        return cls(
            table=table,
            schema=pa.schema(list(fields.values())),
            kind=_kind(table),
            labels=claimed.labels if claimed else None,
            output=paths if claimed else None,
        )

    @property
    def uri(self) -> str:
        return self.table.uri

    @property
    def inputs(self) -> tuple[str, ...]:
        """Where the images lie, by the output's definition; none of a foreign table."""
        claimed = None if self.output is None else read_definition(self.output)
        return tuple(uri for _, uri in claimed.definition.facts.get("input.uri", ())) if claimed else ()

    @property
    def rows(self) -> int:
        """How many rows there are, by the manifest or the files' footers, which are read for it."""
        parts = read_manifest(self.output).values() if self.output else ()
        known = {part.info: part.record.rows for part in parts}
        unknown = [file for file in self.table.files if file not in known]
        return sum(known.get(file, 0) for file in self.table.files) + count_rows(unknown)

    def batches(self, columns: Sequence[str], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """The named columns of all rows, error rows too, in the order of the files' names.

        A batch has at most `rows` rows and about 32 MiB, and the types of `schema`. SpecError for a column that the
        table has not; PartError where a file is damaged.
        """
        return self.table.batches(columns, rows=rows, schema=self.schema)


def _parts(paths: LedgerPaths) -> Iterator[ObjectInfo]:
    """The table's files, without what else lies in the output's tree."""
    return (file for file in storage_for(paths.output).list(paths.output) if paths.is_table_file(file.uri))


def _kind(table: ParquetTable) -> Kind:
    for kind, column in KIND_COLUMNS.items():
        if {column, "image_id"} <= set(table.schema.names):
            return kind
    expected = f"image_id and one of {', '.join(KIND_COLUMNS.values())}"
    raise SpecError(Problem(table.uri, f"the columns {', '.join(table.schema.names)}", expected))
