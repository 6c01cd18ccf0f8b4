"""One table in CSV: every row and every column, also those of images without a prediction."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from vision_batch.export.job import Job
from vision_batch.export.json_text import json_text
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
    for row in rows.filter(pc.is_valid(rows.column("error_code"))).to_pylist():
        job.errors.add(row["image_id"], row["shard"], row["row"], row["error_code"], row["error"])


def _written(type: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_nested(type) or _is_binary(type) or pa.types.is_null(type) else type


def _column(column: pa.Array) -> pa.Array:
    if pa.types.is_nested(column.type):
        return _texts(column, json_text)
    if _is_binary(column.type):
        return _texts(column, lambda data: base64.b64encode(data).decode())
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column


def _texts(column: pa.Array, text: Callable[[Any], str]) -> pa.Array:
    return pa.array([None if value is None else text(value) for value in column.to_pylist()], pa.string())


def _is_binary(type: pa.DataType) -> bool:
    return any(test(type) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary))
