"""The columns of an output: common ones first, types as Parquet gives them back."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_batch.errors import SpecError
from vision_batch.ledger.schema import output_schema


def test_common_then_the_inputs_then_the_tasks_columns() -> None:
    schema = output_schema([pa.field("label", pa.string())], [pa.field("truth", pa.int64())])
    common = ["image_id", "shard", "row", "width", "height", "error_code", "error"]
    assert schema.names == [*common, "truth", "label"]
    assert [str(schema.field(name).type) for name in common] == [
        "string",
        "string",
        "int64",
        "int32",
        "int32",
        "string",
        "string",
    ]


def test_every_column_is_nullable_and_without_metadata() -> None:
    truth = pa.field("truth", pa.int64(), nullable=False, metadata={"of": "another file"})
    field = output_schema([], [truth]).field("truth")
    assert field.nullable
    assert not field.metadata


@pytest.mark.parametrize(
    "data_type",
    [
        pa.timestamp("s"),
        pa.date64(),
        pa.time32("s"),
        pa.dictionary(pa.int8(), pa.string()),
        pa.list_(pa.float32(), 3),
        pa.struct([("a", pa.list_(pa.list_(pa.int8(), 2)))]),
        pa.map_(pa.string(), pa.float16()),
        pa.decimal256(50, 3),
    ],
)
def test_nulls_of_the_inputs_types_can_be_written_and_read_back(data_type: pa.DataType) -> None:
    schema = output_schema([], [pa.field("input_it", data_type)])
    table = pa.Table.from_pylist([{"input_it": None}, {}], schema=schema)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert pq.read_table(io.BytesIO(sink.getvalue())).equals(table)


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(SpecError, match="two columns named 'input_a'"):
        output_schema([], [pa.field("input_a", pa.int8()), pa.field("input_a", pa.int8())])
