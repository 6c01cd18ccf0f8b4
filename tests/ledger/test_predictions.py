"""Predictions: of an output, or of any Parquet with its columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ledger.outputs import CELL_ROWS, SCHEMA, cell_table, sealed
from vision_batch.datasets import parquet_table
from vision_batch.errors import PartError, SpecError
from vision_batch.ledger.definition import Definition, claim_definition
from vision_batch.ledger.part import commit_part
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.predictions import Predictions


def table(**columns: object) -> pa.Table:
    return pa.table({"image_id": ["a", "b"], **columns})


def collected(predictions: Predictions, *columns: str, rows: int = 1 << 16) -> pa.Table:
    return pa.Table.from_batches(predictions.batches(columns, rows=rows))


@pytest.fixture
def output(tmp_path: Path) -> LedgerPaths:
    """Two shards of two cells each, with one error row."""
    paths = LedgerPaths(str(tmp_path / "out"))
    definition = Definition({"seed": 1})
    claim_definition(paths, definition, cell_rows=CELL_ROWS, labels=("cat", "dog"))
    for shard in ("one.tar", "two.tar"):
        for cell in range(2):
            errors = [1] if (shard, cell) == ("one.tar", 1) else []
            cells = cell_table(shard, cell * CELL_ROWS, CELL_ROWS, errors)
            record = sealed(cells, shard=shard, cell=cell, last=cell == 1, definition=definition)
            commit_part(paths, cells, record)
    return paths


@pytest.mark.parametrize("small_bytes", [0, 1 << 20])
def test_an_output_is_read_whole_in_the_order_of_its_parts(
    output: LedgerPaths, small_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_table, "SMALL_BYTES", small_bytes)
    predictions = Predictions.open(output.output)
    assert (predictions.kind, predictions.labels, predictions.output) == ("classification", ("cat", "dog"), output)
    assert predictions.rows == 16
    found = collected(predictions, *SCHEMA.names)
    assert found.equals(pq.read_table(sorted(Path(output.output).glob("*.parquet"))))
    assert found["error_code"].null_count == 15


def test_batches_have_no_more_rows_than_asked_for(output: LedgerPaths) -> None:
    batches = list(Predictions.open(output.output).batches(["image_id"], rows=3))
    assert [len(batch) for batch in batches] == [3, 1] * 4


def test_what_lies_in_an_output_and_is_no_part_is_not_read(output: LedgerPaths) -> None:
    inside = Path(output.output, "mine")
    inside.mkdir()
    pq.write_table(table(label=["x", "y"]), inside / "other.parquet")
    assert Predictions.open(output.output).rows == 16


@pytest.mark.parametrize("name", ["t.parquet", "", "*.parquet"])
def test_any_parquet_with_the_columns_is_predictions(tmp_path: Path, name: str) -> None:
    pq.write_table(table(label=["x", "y"]), tmp_path / "t.parquet")
    (tmp_path / "_notes").mkdir()
    (tmp_path / "_notes" / "n.parquet").write_bytes(b"no table")
    predictions = Predictions.open(str(tmp_path / name).rstrip("/"))
    assert (predictions.kind, predictions.labels, predictions.output, predictions.rows) == (
        "classification",
        None,
        None,
        2,
    )
    found = collected(predictions, "image_id", "label", "error_code")
    assert found.to_pydict() == {"image_id": ["a", "b"], "label": ["x", "y"], "error_code": [None, None]}


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("label", ["x", None], "classification"),
        ("labels", [["x"], []], "multi_label"),
        ("boxes", [[], None], "detection"),
        ("mask_png", [b"", None], "segmentation"),
        ("embedding", [[1.0], [2.0]], "embedding"),
    ],
)
def test_the_columns_tell_the_kind(tmp_path: Path, column: str, values: list[object], kind: str) -> None:
    pq.write_table(table(**{column: values}), tmp_path / "t.parquet")
    assert Predictions.open(str(tmp_path)).kind == kind


def test_a_column_without_a_type_in_one_file_has_that_of_the_others(tmp_path: Path) -> None:
    pq.write_table(table(label=pa.nulls(2), truth=pa.nulls(2)), tmp_path / "1.parquet")
    pq.write_table(table(label=["x", "y"], truth=pa.array([3, 4], pa.int32())), tmp_path / "2.parquet")
    predictions = Predictions.open(str(tmp_path))
    assert predictions.schema.field("truth").type == pa.int32()
    assert collected(predictions, "truth")["truth"].to_pylist() == [None, None, 3, 4]


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    pq.write_table(table(label=["x", "y"], truth=pa.nulls(2)), tmp_path / "1.parquet")
    pq.write_table(table(label=[["x"], ["y"]], truth=pa.nulls(2)), tmp_path / "2.parquet")
    with pytest.raises(SpecError, match=r"2\.parquet"):
        Predictions.open(str(tmp_path))


def test_what_is_no_table_of_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="expected a Parquet"):
        Predictions.open(str(tmp_path / "nowhere"))
    with pytest.raises(SpecError, match="no Parquet file"):
        Predictions.open(str(tmp_path))
    pq.write_table(table(picture=["x", "y"]), tmp_path / "t.parquet")
    with pytest.raises(SpecError, match="image_id and one of embedding"):
        Predictions.open(str(tmp_path))
    pq.write_table(pa.table({"label": ["x"]}), tmp_path / "t.parquet")
    with pytest.raises(SpecError, match="image_id and one of embedding"):
        Predictions.open(str(tmp_path))


def test_a_column_that_is_not_there_is_named(output: LedgerPaths) -> None:
    with pytest.raises(SpecError, match="no column truth"):
        next(iter(Predictions.open(output.output).batches(["truth"])))


def test_a_damaged_file_is_named(output: LedgerPaths) -> None:
    part = sorted(Path(output.output).glob("*.parquet"))[1]
    data = part.read_bytes()
    part.write_bytes(data[:-5] + b"xxxxx")
    with pytest.raises(PartError, match=part.name):
        list(Predictions.open(output.output).batches(["label"]))
