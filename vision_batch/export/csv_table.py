"""One table in CSV: every row and every column, also those of images without a prediction."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv

from vision_batch.export.error_list import COLUMNS
from vision_batch.export.job import Job
from vision_batch.export.row import SLICE_ROWS

NAME: Final = "predictions.csv"


def write(job: Job) -> None:
    """`predictions.csv`: lists and boxes as JSON, masks as base64, null as nothing and empty text as `""`.

    Numbers are as short as their type allows: read as it, they come back exactly.
    """
    schema = pa.schema([pa.field(field.name, _written(field.type)) for field in job.predictions.schema])
    with job.target.spool(NAME) as file, pyarrow.csv.CSVWriter(file, schema) as writer:
        for batch in job.predictions.batches(job.predictions.schema.names):
            for start in range(0, batch.num_rows, SLICE_ROWS):
                rows = batch.slice(start, SLICE_ROWS)
                _note_errors(job, rows)
                writer.write_batch(pa.record_batch([_column(column) for column in rows.columns], schema=schema))
                job.images += rows.num_rows


def _note_errors(job: Job, rows: pa.RecordBatch) -> None:
    if rows.column("error_code").null_count == rows.num_rows:
        return
    for row in rows.select(COLUMNS).to_pylist():
        if row["error_code"] is not None:
            job.errors.add(*(row[name] for name in COLUMNS))


def _written(type: pa.DataType) -> pa.DataType:
    """Text for what CSV has no way to write."""
    return pa.string() if pa.types.is_nested(type) or _is_binary(type) or _is_cast(type) else type


def _column(column: pa.Array) -> pa.Array:
    if pa.types.is_nested(column.type):
        return _texts(
            column, lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
        )
    if _is_binary(column.type):
        return _texts(column, _plain)
    return column.cast(pa.string()) if _is_cast(column.type) else column


def _texts(column: pa.Array, text: Callable[[Any], str]) -> pa.Array:
    return pa.array([None if value is None else text(value) for value in column.to_pylist()], pa.string())


def _plain(value: Any) -> str:
    """What JSON does not know: bytes as base64; times, decimals and the like as their text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _is_cast(type: pa.DataType) -> bool:
    return bool(pa.types.is_null(type) or pa.types.is_string_view(type))


def _is_binary(type: pa.DataType) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(test(type) for test in tests)
