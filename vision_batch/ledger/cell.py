"""Cells: fixed runs of a shard's rows, the unit of commit; chunks: how a cell's rows flow through the stages.

Cell k of a shard is its rows [kR, (k+1)R) in reading order, R fixed when the output was created. Nobody needs to know
the number of rows beforehand: the last cell says that it is the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vision_batch.datasets.sample import Sample

CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive rows of one cell; number `index` of the cell. Empty only for a shard that has no rows at all."""

    cell: int
    index: int
    samples: tuple[Sample, ...]
    ends_cell: bool
    last_cell: bool


def wanted_rows(cell_rows: int, done: frozenset[int]) -> Callable[[int], bool]:
    """Whether a row belongs to a cell that is not done: what a reader is asked for."""
    return lambda row: row // cell_rows not in done


def chunks(
    samples: Iterator[Sample],
    cell_rows: int,
    chunk_rows: int,
    done: frozenset[int] = frozenset(),
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Chunk]:
    """Cuts the wanted rows of a shard, in order, into chunks that never span two cells.

    A chunk holds at most `chunk_rows` samples and `chunk_bytes` of encoded data, but at least one sample. One sample
    is read ahead, so that the chunk that ends a cell says so, and whether the cell is the shard's last: no later row
    is wanted and no later cell is done. The same arguments give the same chunks.

    ValueError when a row is missing, doubled or out of order: a faulty reader must not lose an image silently.
    """
    held: list[Sample] = []
    held_bytes = index = 0
    for sample in _dense(samples, cell_rows, done):
        size_bytes = 0 if sample.data is None else len(sample.data)
        ends_cell = bool(held) and sample.row // cell_rows != held[0].row // cell_rows
        if ends_cell or len(held) == chunk_rows or (held and held_bytes + size_bytes > chunk_bytes):
            yield _chunk(held, index, cell_rows, ends_cell=ends_cell, last_cell=False)
            index = 0 if ends_cell else index + 1
            held, held_bytes = [], 0
        held.append(sample)
        held_bytes += size_bytes
    if held:
        later_is_done = any(cell > held[0].row // cell_rows for cell in done)
        yield _chunk(held, index, cell_rows, ends_cell=True, last_cell=not later_is_done)
    elif not done:
        yield Chunk(cell=0, index=0, samples=(), ends_cell=True, last_cell=True)


def _chunk(held: list[Sample], index: int, cell_rows: int, *, ends_cell: bool, last_cell: bool) -> Chunk:
    cell = held[0].row // cell_rows
    return Chunk(cell=cell, index=index, samples=tuple(held), ends_cell=ends_cell, last_cell=last_cell)


def _dense(samples: Iterator[Sample], cell_rows: int, done: frozenset[int]) -> Iterator[Sample]:
    expected = 0
    for sample in samples:
        while expected // cell_rows in done:
            expected = (expected // cell_rows + 1) * cell_rows
        if sample.row != expected:
            raise ValueError(f"the reader gave row {sample.row} ({sample.image_id}) where row {expected} was due")
        yield sample
        expected += 1
