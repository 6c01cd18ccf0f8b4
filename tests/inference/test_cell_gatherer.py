"""Chunks become cells, in whatever order and however often they come."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.inference.cell_gatherer import CellGatherer, WholeCell
from vision_batch.inference.chunk import Place, PredictedChunk
from vision_batch.ledger.part import error_counts


def chunk(cell: int, index: int, last_index: int, shard: str = "s") -> PredictedChunk:
    ends = index == last_index
    place = Place(shard=shard, version="v", cell=cell, index=index, ends_cell=ends, last_cell=ends and cell == 1)
    return PredictedChunk(place=place, table=pa.table({"row": [10 * cell + index]}))


@given(st.permutations([(cell, index) for cell in range(2) for index in range(4)]), st.data())
def test_every_cell_comes_out_once_whole_and_in_order(order: list[tuple[int, int]], data: st.DataObject) -> None:
    gatherer = CellGatherer()
    cells = []
    for cell, index in order:
        repeats = data.draw(st.integers(1, 2)) if (cell, index) != order[-1] else 1
        found = [gatherer.add(chunk(cell, index, 3)) for _ in range(repeats)]
        cells += [whole for whole in found if whole is not None]
    assert {whole.cell: whole.table["row"].to_pylist() for whole in cells if whole.table.num_rows == 4} == {
        0: [0, 1, 2, 3],
        1: [10, 11, 12, 13],
    }
    assert {whole.cell: whole.last for whole in cells} == {0: False, 1: True}


def test_a_shard_that_failed_leaves_nothing_behind() -> None:
    gatherer = CellGatherer()
    gatherer.add(chunk(0, 0, 1, "a"))
    gatherer.add(chunk(0, 0, 1, "b"))
    gatherer.forget("a")
    assert gatherer.add(chunk(0, 1, 1, "a")) is None
    assert isinstance(gatherer.add(chunk(0, 1, 1, "b")), WholeCell)


def test_a_cell_knows_which_columns_hold_a_value() -> None:
    table = pa.table({"truth": pa.array([None, "3"]), "input_a": pa.array([None, None], pa.string())})
    cell = WholeCell(shard="s", version="v", cell=0, last=True, table=table)
    assert cell.filled(["truth", "input_a"]) == ["truth"]


def test_errors_are_counted_by_code() -> None:
    table = pa.table({"error_code": pa.array(["empty", None, "empty", "truncated"])})
    assert error_counts(table) == {"empty": 2, "truncated": 1}
