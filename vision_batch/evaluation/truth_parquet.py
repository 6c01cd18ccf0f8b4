"""Truth in Parquet: a column of ids, and one of what is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa

from vision_batch.datasets.parquet_table import ParquetTable
from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.settings import TruthSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetTruth:
    """Any number of files; ids are taken as text."""

    uri: str
    table: ParquetTable
    id_column: str
    truth_column: str
    by_file_name: bool = False
    is_apart: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.table.schema.names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in self.table.batches([self.id_column, self.truth_column, *columns]):
            yield pa.record_batch(
                [
                    batch.column(self.id_column).cast(pa.string()),
                    batch.column(self.truth_column),
                    *map(batch.column, columns),
                ],
                names=["image_id", "truth", *columns],
            )


def open_parquet(settings: TruthSettings, truth_column: str) -> ParquetTruth:
    """The table at the settings' URI; SpecError where a column is not there."""
    table = ParquetTable.open(settings.uri)
    wanted = {"truth.id_column": settings.id_column, "truth.column": settings.column or truth_column}
    if problems := [_missing(where, name, table) for where, name in wanted.items() if name not in table.schema.names]:
        raise SpecError(problems)
    return ParquetTruth(
        uri=settings.uri, table=table, id_column=settings.id_column, truth_column=settings.column or truth_column
    )


def _missing(where: str, name: str, table: ParquetTable) -> Problem:
    near = get_close_matches(name, table.schema.names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return Problem(where, f"no column {name!r} in {table.uri}", f"one of {', '.join(table.schema.names)}{hint}")
