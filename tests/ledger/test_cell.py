"""Cells and chunks: whatever is done already, the same rows come out in the same cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.outputs import SCHEMA, sealed
from vision_batch.datasets.sample import Sample
from vision_batch.errors import ImageError
from vision_batch.ledger.cell import Chunk, chunks, wanted_rows
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.patch import Patch
from vision_batch.ledger.row_set import RowSet
from vision_batch.storage.object_info import ObjectInfo

sizes = st.lists(st.integers(0, 40), max_size=60)
rows_per = st.integers(1, 9)


def shard(image_sizes: list[int], cell_rows: int = 1, done: frozenset[int] = frozenset()) -> Iterator[Sample]:
    """What a reader gives: one sample for each wanted row; size 0 stands for an image without bytes."""
    wanted = wanted_rows(cell_rows, done)
    for row, size in enumerate(image_sizes):
        if wanted(row):
            error = None if size else ImageError("missing", "gone")
            yield Sample(row=row, image_id=str(row), data=bytes(size) if size else None, error=error)


def cells(cut: list[Chunk]) -> dict[int, tuple[list[int], bool]]:
    """Rows of each cell that was ended, and whether it is the last."""
    found: dict[int, tuple[list[int], bool]] = {}
    rows: list[int] = []
    for chunk in cut:
        rows += [sample.row for sample in chunk.samples]
        if chunk.ends_cell:
            found[chunk.cell] = rows, chunk.last_cell
            rows = []
    assert not rows, "the last chunk ends its cell"
    return found


@given(sizes, rows_per, rows_per, st.integers(1, 100))
def test_every_row_is_in_one_chunk_in_order(images: list[int], cell_rows: int, chunk_rows: int, most: int) -> None:
    cut = list(chunks(shard(images), cell_rows, chunk_rows, chunk_bytes=most))
    assert [sample.row for chunk in cut for sample in chunk.samples] == list(range(len(images)))


@given(sizes, rows_per, rows_per, st.integers(1, 100))
def test_a_chunk_stays_in_its_cell_and_its_bounds(
    images: list[int], cell_rows: int, chunk_rows: int, most: int
) -> None:
    for chunk in chunks(shard(images), cell_rows, chunk_rows, chunk_bytes=most):
        assert {sample.row // cell_rows for sample in chunk.samples} <= {chunk.cell}
        assert len(chunk.samples) <= chunk_rows
        assert len(chunk.samples) == 1 or sum(len(sample.data or b"") for sample in chunk.samples) <= most


@given(sizes, rows_per, rows_per)
def test_chunks_are_numbered_within_their_cell(images: list[int], cell_rows: int, chunk_rows: int) -> None:
    expected = 0, 0
    for chunk in chunks(shard(images), cell_rows, chunk_rows):
        assert (chunk.cell, chunk.index) == expected
        expected = (chunk.cell + 1, 0) if chunk.ends_cell else (chunk.cell, chunk.index + 1)


@given(sizes, rows_per, rows_per, rows_per, st.sets(st.integers(0, 60)))
def test_cells_do_not_depend_on_what_is_done(
    images: list[int], cell_rows: int, chunk_rows: int, other_chunk_rows: int, some: set[int]
) -> None:
    whole = cells(list(chunks(shard(images), cell_rows, chunk_rows)))
    done = frozenset(some) & whole.keys()
    resumed = cells(list(chunks(shard(images, cell_rows, done), cell_rows, other_chunk_rows, done)))
    assert resumed == {cell: rows for cell, rows in whole.items() if cell not in done}


@given(sizes, rows_per)
def test_exactly_the_last_cell_says_so(images: list[int], cell_rows: int) -> None:
    last = [is_last for _, is_last in cells(list(chunks(shard(images), cell_rows, 4))).values()]
    assert last == [False] * (len(last) - 1) + [True]


def test_a_shard_without_rows_is_one_empty_cell() -> None:
    assert list(chunks(iter(()), 4, 2)) == [Chunk(cell=0, index=0, samples=(), ends_cell=True, last_cell=True)]


def test_nothing_wanted_of_a_done_shard_gives_nothing() -> None:
    assert list(chunks(iter(()), 4, 2, frozenset({0}))) == []


def patches(rows: set[int], cell_rows: int) -> list[Patch]:
    """Patches of these rows, of stored cells."""
    wanted: dict[int, list[int]] = {}
    for row in sorted(rows):
        wanted.setdefault(row // cell_rows, []).append(row)
    empty = sealed(SCHEMA.empty_table(), shard="s")
    info = ObjectInfo(uri="part", size_bytes=1, version="1")
    return [
        Patch(base=StoredPart(info=info, record=replace(empty, cell=cell)), rows=RowSet.of(found))
        for cell, found in wanted.items()
    ]


@given(sizes, rows_per, rows_per, st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_of_a_patched_cell_only_the_rows_of_the_patch_are_computed(
    images: list[int], cell_rows: int, chunk_rows: int, some: set[int], again: set[int]
) -> None:
    whole = cells(list(chunks(shard(images), cell_rows, chunk_rows)))
    found = patches({row for row in again if row < len(images)}, cell_rows)
    done = frozenset(some) & whole.keys()
    wanted = wanted_rows(cell_rows, done, found)
    samples = (sample for sample in shard(images) if wanted(sample.row))
    cut = list(chunks(samples, cell_rows, chunk_rows, done, found))
    patched = {patch.cell: patch for patch in found}
    expected = {cell: list(patched[cell].rows) if cell in patched else rows for cell, (rows, _) in whole.items()}
    computed = {cell: rows for cell, (rows, _) in cells(cut).items()}
    assert computed == {cell: rows for cell, rows in expected.items() if cell in patched or cell not in done}
    assert all(chunk.patch is patched.get(chunk.cell) for chunk in cut)
    assert all(last == (cell == max(whole)) for cell, (_, last) in cells(cut).items())


def test_a_reader_that_ends_before_a_patch_does_is_stopped() -> None:
    with pytest.raises(ValueError, match="row 9 was due"):
        list(chunks(iter([Sample(row=8, image_id="8", data=b"x")]), 4, 2, frozenset({0, 1}), patches({8, 9}, 4)))


def test_only_one_sample_is_read_ahead() -> None:
    taken: list[int] = []

    def counted() -> Iterator[Sample]:
        for sample in shard([1] * 100):
            taken.append(sample.row)
            yield sample

    next(chunks(counted(), 50, 10))
    assert len(taken) == 11


@pytest.mark.parametrize("rows", [[0, 2], [1], [0, 0], [0, 1, 3], [0, 1, 8]])
def test_a_reader_that_loses_or_doubles_a_row_is_stopped(rows: list[int]) -> None:
    faulty = (Sample(row=row, image_id=str(row), data=b"x") for row in rows)
    with pytest.raises(ValueError, match="was due"):
        list(chunks(faulty, 4, 2))
