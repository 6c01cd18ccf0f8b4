"""Cells: fixed runs of a shard's rows, the unit of commit; chunks: how a cell's rows flow through the stages.

Cell k of a shard is its rows [kR, (k+1)R) in reading order, R fixed when the output was created. Nobody needs to know
the number of rows beforehand: the last cell says that it is the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vision_batch.datasets.sample import Sample
from vision_batch.ledger.patch import Patch

CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive rows of one cell; number `index` of the cell. Empty only for a shard that has no rows at all.

    With a `patch` they are rows of a cell that is stored, and only those that the patch computes again.
    """

    cell: int
    index: int
    samples: tuple[Sample, ...]
    ends_cell: bool
    last_cell: bool
    patch: Patch | None = None


def wanted_rows(
    cell_rows: int, done: frozenset[int], patches: Sequence[Patch] = (), pruned: frozenset[int] = frozenset()
) -> Callable[[int], bool]:
    """Whether a row is to be computed: what a reader is asked for.

    Those are the rows of patches, and of cells that are not done, without the `pruned` ones.
    """
    patched = {patch.cell: frozenset(patch.rows) for patch in patches}

    def wanted(row: int) -> bool:
        rows = patched.get(row // cell_rows)
        return row // cell_rows not in done and row not in pruned if rows is None else row in rows

    return wanted


def chunks(
    samples: Iterator[Sample],
    cell_rows: int,
    chunk_rows: int,
    done: frozenset[int] = frozenset(),
    patches: Sequence[Patch] = (),
    pruned: frozenset[int] = frozenset(),
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Chunk]:
    """Cuts the wanted rows of a shard, in order, into chunks that never span two cells.

    A chunk holds at most `chunk_rows` samples and `chunk_bytes` of encoded data, but at least one sample. One sample
    is read ahead, so that the chunk that ends a cell says so, and whether the cell is the shard's last: no later row
    is wanted and no later cell is stored. The same arguments give the same chunks.

    ValueError when a row is missing, doubled or out of order: a faulty reader must not lose an image silently.
    """
    patched = {patch.cell: patch for patch in patches}
    stored = done | patched.keys()

    def chunk(*, ends_cell: bool, last_cell: bool) -> Chunk:
        cell = held[0].row // cell_rows
        return Chunk(
            cell=cell,
            index=index,
            samples=tuple(held),
            ends_cell=ends_cell,
            last_cell=last_cell,
            patch=patched.get(cell),
        )

    held: list[Sample] = []
    held_bytes = index = 0
    for sample in _dense(samples, wanted_rows(cell_rows, done, patches, pruned), patches):
        size_bytes = 0 if sample.data is None else len(sample.data)
        ends_cell = bool(held) and sample.row // cell_rows != held[0].row // cell_rows
        if ends_cell or len(held) == chunk_rows or (held and held_bytes + size_bytes > chunk_bytes):
            yield chunk(ends_cell=ends_cell, last_cell=False)
            index = 0 if ends_cell else index + 1
            held, held_bytes = [], 0
        held.append(sample)
        held_bytes += size_bytes
    if held:
        yield chunk(ends_cell=True, last_cell=all(cell <= held[0].row // cell_rows for cell in stored))
    elif not stored:
        yield Chunk(cell=0, index=0, samples=(), ends_cell=True, last_cell=True)


def _dense(samples: Iterator[Sample], wanted: Callable[[int], bool], patches: Sequence[Patch]) -> Iterator[Sample]:
    """The samples, proven to be all the wanted rows in order; how many rows the shard has only its reader knows."""
    expected = 0
    for sample in samples:
        due = next((row for row in range(expected, sample.row + 1) if wanted(row)), "a later one")
        if sample.row != due:
            raise ValueError(f"the reader gave row {sample.row} ({sample.image_id}) where row {due} was due")
        yield sample
        expected = sample.row + 1
    lost = [row for patch in patches for row in patch.rows if row >= expected]
    if lost:
        raise ValueError(f"the reader ended where row {lost[0]} was due")
