"""The digest sees what a table says and nothing else."""

from __future__ import annotations

import datetime
import decimal
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vision_batch.ledger.digest import table_digest

SCALARS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int8(): st.integers(-128, 127),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint16(): st.integers(0, 2**16 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.large_string(): st.text(max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.timestamp("us", "UTC"): st.datetimes(datetime.datetime(1990, 1, 1)).map(
        lambda moment: moment.replace(tzinfo=datetime.UTC)
    ),
    pa.date32(): st.dates(),
    pa.decimal128(9, 2): st.decimals(-1000, 1000, places=2),
    pa.null(): st.none(),
}


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """(type, strategy of values) pairs for types made of `inner`'s."""

    def maybe(values: Any) -> Any:
        return st.none() | values

    return st.one_of(
        inner.map(lambda pair: (pa.list_(pair[0]), st.lists(maybe(pair[1]), max_size=3))),
        inner.map(lambda pair: (pa.large_list(pair[0]), st.lists(maybe(pair[1]), max_size=3))),
        inner.map(lambda pair: (pa.list_(pair[0], 2), st.lists(maybe(pair[1]), min_size=2, max_size=2))),
        st.tuples(inner, inner).map(
            lambda pairs: (
                pa.struct([("a", pairs[0][0]), ("b", pairs[1][0])]),
                st.fixed_dictionaries({"a": maybe(pairs[0][1]), "b": maybe(pairs[1][1])}),
            )
        ),
    )


kinds = st.recursive(st.sampled_from(list(SCALARS.items())), _nested, max_leaves=3)


@st.composite
def arrays(draw: st.DrawFn, min_size: int = 0) -> pa.Array:
    data_type, values = draw(kinds)
    return pa.array(draw(st.lists(st.none() | values, min_size=min_size, max_size=8)), data_type)


def digest(array: pa.Array | pa.ChunkedArray) -> str:
    return table_digest(pa.table({"column": array}))


@given(arrays(), st.integers(0, 8))
def test_chunks_and_slices_make_no_difference(array: pa.Array, cut: int) -> None:
    around = pa.concat_arrays([array, array, array]).slice(len(array), len(array))
    assert digest(around) == digest(array)
    assert digest(pa.chunked_array([around.slice(0, cut), around.slice(cut)], array.type)) == digest(array)


@given(arrays())
def test_parquet_gives_back_the_same_digest(array: pa.Array) -> None:
    assume("fixed_size_list" not in str(array.type))  # pyarrow 25 writes a null one and cannot read it
    table = pa.table({"column": array})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert table_digest(pq.read_table(io.BytesIO(sink.getvalue()))) == table_digest(table)


@given(st.lists(st.lists(st.none() | st.floats(width=32), min_size=2, max_size=2)))
def test_parquet_gives_back_the_same_digest_of_fixed_size_lists(values: list[list[float | None]]) -> None:
    table = pa.table({"column": pa.array(values, pa.list_(pa.float32(), 2))})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert table_digest(pq.read_table(io.BytesIO(sink.getvalue()))) == table_digest(table)


@given(arrays(min_size=1), arrays(min_size=1))
def test_other_content_has_another_digest(one: pa.Array, other: pa.Array) -> None:
    assume(one.type != other.type or not _same(one, other))
    assume({one.type, other.type} != {pa.string(), pa.large_string()})
    if not (_wide(one.type) == _wide(other.type) and _same(one, other)):
        assert digest(one) != digest(other)


def _same(one: pa.Array, other: pa.Array) -> bool:
    return repr(one.to_pylist()) == repr(other.to_pylist())


def _wide(data_type: pa.DataType) -> str:
    return str(data_type).replace("large_", "")


@given(st.lists(st.none() | st.text(max_size=3), min_size=1))
def test_encodings_make_no_difference(values: list[str | None]) -> None:
    plain = pa.array(values, pa.string())
    assert digest(plain.dictionary_encode()) == digest(plain)
    assert digest(plain.cast(pa.large_string())) == digest(plain)
    assert digest(plain.cast(pa.string_view())) == digest(plain)


def test_what_lies_under_a_null_makes_no_difference() -> None:
    validity = pa.py_buffer(bytes([0b101]))
    ones, others = (pa.py_buffer(np.array([1, under, 3], np.int32)) for under in (2, 99))
    one, other = (pa.Array.from_buffers(pa.int32(), 3, [validity, values]) for values in (ones, others))
    assert digest(one) == digest(other)
    assert digest(pa.StructArray.from_arrays([one], ["a"])) == digest(pa.StructArray.from_arrays([other], ["a"]))


def test_a_bitmap_without_nulls_makes_no_difference() -> None:
    values = pa.py_buffer(np.arange(8, dtype=np.int32))
    with_bitmap = pa.Array.from_buffers(pa.int32(), 8, [pa.py_buffer(b"\xff"), values])
    assert digest(with_bitmap) == digest(pa.Array.from_buffers(pa.int32(), 8, [None, values]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array(["ab", "c"]), pa.array(["a", "bc"])),
        (pa.array([[1], [2, 3]]), pa.array([[1, 2], [3]])),
        (pa.array([None, ""]), pa.array(["", None])),
        (pa.array([None, []], pa.list_(pa.int32())), pa.array([[], None], pa.list_(pa.int32()))),
        (pa.array([1], pa.int32()), pa.array([1], pa.int64())),
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([True, False]), pa.array([True, False, False])),
        (pa.array(["a"]), pa.array([b"a"])),
        (pa.array([decimal.Decimal("1.0")]), pa.array([decimal.Decimal("1.00")])),
    ],
)
def test_what_looks_alike_is_told_apart(one: pa.Array, other: pa.Array) -> None:
    assert digest(one) != digest(other)


def test_names_order_and_facts_count() -> None:
    column = pa.array([1, 2])
    table = pa.table({"a": column, "b": column})
    others = [table.rename_columns(["b", "a"]), table.select(["b", "a"]), table.select(["a"])]
    assert len({table_digest(each) for each in [table, *others[1:]]} | {table_digest(table, "facts")}) == 4


def test_maps_are_digested() -> None:
    kind = pa.map_(pa.string(), pa.int32())
    one = pa.array([[("a", 1)], None, []], kind)
    assert digest(one) == digest(pa.concat_arrays([one.slice(0, 1), one.slice(1)]))
    assert digest(one) != digest(pa.array([[("a", 2)], None, []], kind))
