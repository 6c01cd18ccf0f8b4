"""Embedding: one vector per image, which every Parquet reader gives back, also beside the null of an error row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vision_batch.errors import ModelError
from vision_batch.images.geometry import Geometry
from vision_batch.ledger.schema import output_schema
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import task_for
from vision_batch.tasks.task import Task, View

VIEW = View(width=6, height=4, geometry=Geometry(scale_x=1, scale_y=1, offset_x=0, offset_y=0))
SIZES = st.tuples(st.integers(0, 5), st.integers(1, 7))
VECTORS = arrays(np.float32, SIZES, elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False))


def task(**more: Any) -> Task:
    return task_for(TaskSettings(type="embedding", **more), None)


def column(outputs: np.ndarray, of: Task) -> pa.Array:
    (found,) = of.columns(outputs, [VIEW] * len(outputs), (4, 6))
    assert found.type == of.fields()[0].type
    return found


@given(VECTORS)
def test_a_vector_comes_out_as_it_came(vectors: np.ndarray) -> None:
    of = task()
    of.check(vectors, len(vectors))
    assert of.finite(vectors).all()
    assert column(vectors, of).to_pylist() == vectors.tolist()


@given(VECTORS)
def test_normalised_it_has_the_same_direction_and_a_length_of_1(vectors: np.ndarray) -> None:
    of = task(normalise=True)
    usable = of.finite(vectors)
    assert usable.tolist() == [bool(vector.any()) for vector in vectors]
    found = np.array(column(vectors[usable], of).to_pylist(), np.float64).reshape(-1, vectors.shape[1])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    wide = vectors[usable].astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    np.testing.assert_allclose(found, wide / lengths, atol=1e-6)


def test_float16_is_rounded_and_what_it_cannot_hold_is_no_prediction() -> None:
    of = task(dtype="float16")
    vectors = np.array([[0.1, 65504], [0.1, 65536], [-1e9, 0], [np.nan, 0], [0, -np.inf]], np.float32)
    assert of.finite(vectors).tolist() == [True, False, False, False, False]
    assert "a number above 65504, the largest float16" in of.unusable
    found = column(vectors[:1], of)
    assert found.type == pa.list_(pa.float16())
    assert found.to_pylist() == [[np.float16(0.1), 65504]]


def test_normalised_numbers_that_float16_cannot_hold_can() -> None:
    of = task(dtype="float16", normalise=True)
    vectors = np.array([[3e30, 4e30], [3e-30, 4e-30], [0, 0]], np.float32)
    assert of.finite(vectors).tolist() == [True, True, False]
    assert "zeros only" in of.unusable
    np.testing.assert_allclose(np.array(column(vectors[:2], of).to_pylist()), [[0.6, 0.8]] * 2, atol=1e-3)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([np.zeros((2, 3), np.float32)], "a list of 1; embedding needs one tensor"),
        ({"a": 1, "b": 2}, "a dict with a, b; embedding needs one tensor"),
        (np.zeros((2, 5, 3), np.float32), r"shape \(2, 5, 3\), tokens or a map; set task.pooling"),
        (np.zeros((2, 3, 4, 4), np.float32), "tokens or a map"),
        (np.zeros(2, np.float32), r"needs floating-point vectors of shape \(N, D\)"),
        (np.zeros((2, 0), np.float32), "needs floating-point vectors"),
        (np.zeros((2, 3), np.int64), "int64 of shape"),
        (np.zeros((3, 3), np.float32), "3 vectors for 2 images"),
    ],
)
def test_what_is_no_vector_for_each_image_is_the_models_fault(outputs: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        task().check(outputs, 2)


class TestAgreement:
    EXACT = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)

    @pytest.mark.parametrize(("noise", "close"), [(0.0, True), (0.01, True), (0.2, False)])
    def test_it_is_judged_by_the_direction(self, noise: float, close: bool) -> None:
        lowered = self.EXACT + noise * np.random.default_rng(1).normal(size=self.EXACT.shape).astype(np.float32)
        found = task().agreement(self.EXACT, lowered)
        assert found.is_close is close
        assert "cosine" in found.text

    def test_one_vector_that_is_turned_is_enough(self) -> None:
        lowered = self.EXACT.copy()
        lowered[7] *= -1
        assert not task().agreement(self.EXACT, lowered).is_close

    @pytest.mark.parametrize("value", [np.nan, np.inf, 0])
    def test_a_lower_precision_that_has_no_direction_is_not_close(self, value: float) -> None:
        lowered = self.EXACT.copy()
        lowered[3] = value
        assert not task().agreement(self.EXACT, lowered).is_close
        assert task().agreement(lowered, self.EXACT).is_close  # that image has none in fp32 either
        assert not task().agreement(np.full_like(self.EXACT, value), self.EXACT).is_close


def by_pyarrow(part: Path) -> list[Any]:
    return list(pq.read_table(part)["embedding"].to_pylist())


def by_duckdb(part: Path) -> list[Any]:
    import duckdb

    return [row[0] for row in duckdb.sql(f"SELECT embedding FROM '{part}'").fetchall()]


def by_polars(part: Path) -> list[Any]:
    import polars

    return list(polars.read_parquet(part)["embedding"].to_list())


def by_pandas(part: Path) -> list[Any]:
    import pandas

    return [None if value is None else value.tolist() for value in pandas.read_parquet(part)["embedding"]]


def by_hugging_face(part: Path) -> list[Any]:
    import datasets

    return list(datasets.Dataset.from_parquet(str(part), cache_dir=str(part.parent / "cache"))["embedding"])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("read", [by_pyarrow, by_duckdb, by_polars, by_pandas, by_hugging_face])
def test_every_reader_gives_back_the_vectors_and_the_null_of_an_error_row(
    read: Any, dtype: str, tmp_path: Path
) -> None:
    of = task(dtype=dtype)
    vectors = np.array([[0.5, -1, 2], [8, 16, 1024]], np.float32)
    stored = column(vectors, of).take(pa.array([0, None, 1]))
    part = tmp_path / "part.parquet"
    schema = pa.schema([output_schema(of.fields(), []).field("embedding")])
    pq.write_table(pa.table([stored], schema=schema), part)
    assert read(part) == [vectors[0].tolist(), None, vectors[1].tolist()]


def test_duckdb_measures_distances_past_error_rows(tmp_path: Path) -> None:
    import duckdb

    stored = column(np.eye(3, dtype=np.float32), task(normalise=True)).take(pa.array([0, None, 1]))
    pq.write_table(pa.table({"embedding": stored}), tmp_path / "part.parquet")
    query = f"SELECT array_cosine_similarity(embedding::FLOAT[3], [1, 0, 0]::FLOAT[3]) FROM '{tmp_path}/part.parquet'"
    assert duckdb.sql(query).fetchall() == [(1.0,), (None,), (0.0,)]
