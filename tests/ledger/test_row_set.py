"""Sets of row numbers are exact, and small also where they hold every row of a very large input."""

from __future__ import annotations

import pickle
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from vision_batch.ledger.row_set import RowSet

CELL_ROWS = 4096


@given(st.integers(0, 10**12), st.sets(st.integers(0, CELL_ROWS - 1)))
def test_what_goes_in_comes_out_in_order(first: int, offsets: set[int]) -> None:
    rows = [first + offset for offset in offsets]
    found = RowSet.of(rows)
    assert list(found) == found.numbers().tolist() == sorted(rows)
    assert len(found) == len(rows)
    assert found == RowSet.of(sorted(rows, reverse=True)), "in whatever order they come"
    assert pickle.loads(pickle.dumps(found)) == found
    assert bool(found) == bool(rows)


@given(st.sets(st.integers(0, CELL_ROWS), max_size=9), st.sets(st.integers(0, CELL_ROWS), max_size=9))
def test_others_are_other_sets(some: set[int], others: set[int]) -> None:
    assert (RowSet.of(some) == RowSet.of(others)) == (some == others)


def test_an_image_takes_a_bit_and_not_a_number() -> None:
    cells = 50
    tracemalloc.start()
    held = [RowSet.of(range(cell * CELL_ROWS, (cell + 1) * CELL_ROWS)) for cell in range(cells)]
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes / (cells * CELL_ROWS) < 0.2
    assert len(pickle.dumps(held)) / (cells * CELL_ROWS) < 0.2
