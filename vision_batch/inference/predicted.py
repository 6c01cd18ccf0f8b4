"""From a chunk's images and the task's columns for them to the rows of the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from vision_batch.errors import ImageError
from vision_batch.inference.chunk import DecodedChunk, PredictedChunk, Row
from vision_batch.inference.stopwatch import Stopwatch

if TYPE_CHECKING:
    from vision_batch.models.transfer import Answer

Columns: TypeAlias = tuple[list[pa.Array], dict[int, ImageError]]
"""Task columns of the images that could be predicted, and the error of each that could not, by position."""


def predicted_chunk(
    chunk: DecodedChunk, batches: Sequence[Columns], schema: pa.Schema, watch: Stopwatch, *, batch_rows: int
) -> PredictedChunk:
    """All rows of `chunk`, in order; `batches`, one at least, are for its good images. Its rows get their errors."""
    columns, failures = joined(batches)
    for position, error in failures.items():
        chunk.rows[chunk.good[position]].fail(error)
    good = [i for position, i in enumerate(chunk.good) if position not in failures]
    with watch.time("postprocess"):
        table = _table(chunk.place.shard, chunk.rows, good, columns, schema)
    first = next(iter(failures.values()), None)
    return PredictedChunk(
        place=chunk.place,
        table=table,
        asked=len(chunk.good),
        failed=len(failures),
        failure="" if first is None else first.message,
        batch_rows=batch_rows,
    )


def add_answer(watch: Stopwatch, answer: Answer, cpu_s: float) -> None:
    """The time of a batch: what its CPUs took, `cpu_s`, belongs to copy and model as the clock's seconds do."""
    share = answer.copy_s / max(answer.copy_s + answer.model_s, 1e-9)
    watch.add("copy", answer.copy_s, share * cpu_s)
    watch.add("model", answer.model_s, (1 - share) * cpu_s)


def joined(parts: Sequence[Columns]) -> Columns:
    """Of neighbours those of all of them. A part's images are its columns' values and its failures."""
    if len(parts) == 1:
        return parts[0]
    failures: dict[int, ImageError] = {}
    start = 0
    for columns, failed in parts:
        failures |= {start + position: error for position, error in failed.items()}
        start += len(columns[0]) + len(failed)
    return [pa.concat_arrays(column) for column in zip(*(columns for columns, _ in parts), strict=True)], failures


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _table(shard: str, rows: list[Row], good: list[int], columns: list[pa.Array], schema: pa.Schema) -> pa.Table:
    """All rows in order with the complete schema; `columns` are the task's, for the rows at `good`."""
    values: dict[str, Any] = {
        "image_id": [row.image_id for row in rows],
        "shard": [shard] * len(rows),
        "row": [row.row for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
        "error_code": [row.error_code for row in rows],
        "error": [row.error for row in rows],
        "truth": [row.truth for row in rows],
    }
    extras = [name for name in schema.names if name.startswith("input_")]
    values |= {name: [row.kept[i] for row in rows] for i, name in enumerate(extras)}
    task_names = schema.names[len(schema.names) - len(columns) :]
    if len(good) < len(rows):
        where = np.full(len(rows), -1)
        where[good] = np.arange(len(good))
        take = pa.array(where, mask=where < 0)
        columns = [column.take(take) for column in columns]
    values |= dict(zip(task_names, columns, strict=True))
    arrays = [
        values[field.name] if isinstance(values[field.name], pa.Array) else pa.array(values[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
