"""The depth of a footer's schema, without Arrow; a file that is nested too deep for it is an unreadable one."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.datasets.parquet_file import MOST_LEVELS, SAFE_LEVELS, ParquetDamage, read_footer
from vision_batch.datasets.parquet_nesting import nesting
from vision_batch.storage.table import storage_for

TYPES = st.recursive(
    st.sampled_from([pa.int32(), pa.string(), pa.timestamp("ns", "UTC"), pa.decimal128(9, 2), pa.bool_()]),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(lambda value: pa.map_(pa.string(), value)),
        st.lists(inner, min_size=1, max_size=3).map(lambda types: pa.struct(zip("abc", types, strict=False))),
    ),
)


def footer_of(*types: pa.DataType) -> bytes:
    sink = io.BytesIO()
    schema = pa.schema([(f"c{number}", kind) for number, kind in enumerate(types)], {"more": "than names"})
    pq.write_table(schema.empty_table(), sink)
    file = sink.getvalue()
    return file[-8 - int.from_bytes(file[-8:-4], "little") : -8]


def levels(kind: pa.DataType) -> int:
    """As Parquet writes them: a list and a map are two groups."""
    inner = [levels(kind.field(index).type) for index in range(kind.num_fields)]
    if pa.types.is_map(kind):
        return 2 + max(levels(kind.key_type), levels(kind.item_type))
    return (2 if pa.types.is_list(kind) else 1) + max(inner) if inner else 1


@given(st.lists(TYPES, min_size=1, max_size=20))
def test_as_arrow_has_written_it(types: list[pa.DataType]) -> None:
    assert nesting(footer_of(*types)) == max(map(levels, types))


@given(
    st.binary(max_size=300)
    | st.builds(lambda at, bit: flipped(footer_of(pa.string()), at, bit), st.floats(0, 1), st.integers(0, 7))
)
def test_any_bytes_have_an_answer_or_make_no_sense(footer: bytes) -> None:
    with suppress(ValueError):
        assert nesting(footer) >= 0


def flipped(data: bytes, where: float, bit: int) -> bytes:
    at = int(where * (len(data) - 1))
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


@pytest.mark.parametrize("footer", [b"", b"\x29\xfc" + b"\xff" * 9 + b"\x01", b"\x1c" * 5000])
def test_what_promises_more_than_there_is_makes_no_sense(footer: bytes) -> None:
    with pytest.raises(ValueError):
        nesting(footer)


def write_nested(path: Path, count: int) -> Path:
    """A column of `count` levels, which Arrow would not write."""
    group = b"\x35\x02\x18\x01g\x15\x02\x00"  # repeated or not: 1, name: g, num_children: 1
    elements = b"\x48\x01s\x15\x02\x00" + group * (count - 1) + b"\x15\x0c\x25\x02\x18\x01x\x00"
    number, size = count + 1, b""
    while number > 0x7F:
        size, number = size + bytes([number & 0x7F | 0x80]), number >> 7
    footer = b"\x15\x04\x19\xfc" + size + bytes([number]) + elements + b"\x16\x00\x19\x0c\x00"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    return path


@pytest.mark.parametrize("count", [MOST_LEVELS + 1, SAFE_LEVELS + 1, 100_000])
def test_a_schema_that_is_nested_too_deep_is_damage(tmp_path: Path, count: int) -> None:
    path = str(write_nested(tmp_path / "a.parquet", count))
    with pytest.raises(ParquetDamage, match="its schema is nested"):
        read_footer(storage_for(path).stat(path))


def test_a_schema_that_is_nested_deep_is_read(tmp_path: Path) -> None:
    path = str(write_nested(tmp_path / "a.parquet", MOST_LEVELS))
    assert read_footer(storage_for(path).stat(path)).schema.names == ["g"]


def test_a_schema_or_a_file_may_be_long(tmp_path: Path) -> None:
    columns, groups = str(tmp_path / "columns.parquet"), str(tmp_path / "groups.parquet")
    pq.write_table(pa.table({f"c{number}": ["x"] for number in range(SAFE_LEVELS + 1)}), columns)
    pq.write_table(pa.table({"c": ["x"] * (SAFE_LEVELS + 1)}), groups, row_group_size=1)
    assert len(read_footer(storage_for(columns).stat(columns)).schema) == SAFE_LEVELS + 1
    assert len(read_footer(storage_for(groups).stat(groups)).group_rows) == SAFE_LEVELS + 1
