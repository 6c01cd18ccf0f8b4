"""The columns of an output."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.errors import Problem, SpecError

COMMON_FIELDS: tuple[pa.Field, ...] = (
    pa.field("image_id", pa.string()),
    pa.field("shard", pa.string()),
    pa.field("row", pa.int64()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("error_code", pa.string()),
    pa.field("error", pa.string()),
)
"""What every output begins with, whatever its task. (`shard`, `row`) is the identity of an image."""


def output_schema(task_fields: Sequence[pa.Field], extra_fields: Sequence[pa.Field]) -> pa.Schema:
    """Common columns, then the input's (`truth`, `input_<name>`), then the task's, every one nullable.

    SpecError when two columns have one name.
    """
    extra = [field.with_type(_readable(field.type)) for field in extra_fields]
    fields = [field.with_nullable(True).remove_metadata() for field in (*COMMON_FIELDS, *extra, *task_fields)]
    twice = [name for name, count in Counter(field.name for field in fields).items() if count > 1]
    if twice:
        found = f"two columns named {', '.join(map(repr, twice))}"
        raise SpecError(Problem("input.keep_columns", found, "every column of the output to have its own name"))
    return _as_stored(pa.schema(fields))


def _readable(data_type: pa.DataType) -> pa.DataType:
    """With lists of any size for lists of a fixed size: pyarrow writes a null one and then cannot read the file."""
    if pa.types.is_fixed_size_list(data_type) or pa.types.is_list(data_type):
        return pa.list_(_readable(data_type.value_type))
    if pa.types.is_large_list(data_type):
        return pa.large_list(_readable(data_type.value_type))
    if pa.types.is_struct(data_type):
        return pa.struct([field.with_type(_readable(field.type)) for field in data_type])
    return data_type


@lru_cache(maxsize=16)
def _as_stored(schema: pa.Schema) -> pa.Schema:
    """The types that Parquet gives back: it has no date64 and no time in seconds, and a part's digest covers types."""
    sink = io.BytesIO()
    pq.write_table(schema.empty_table(), sink)
    stored = pq.read_schema(io.BytesIO(sink.getvalue()))
    return pa.schema([field.remove_metadata() for field in stored])
