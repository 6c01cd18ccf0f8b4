"""Predicted chunks become parts: a cell is committed when all its chunks are there, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from vision_batch.inference.chunk import PredictedChunk
from vision_batch.inference.job import PredictJob
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.ledger.lease import demand_lease
from vision_batch.ledger.part import PartRecord, record_for
from vision_batch.ledger.patch import Patch, commit_patch
from vision_batch.ledger.replace import Replacer


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeCell:
    """All rows of one cell, in order, ready to be committed; with a `patch`, all that it computes."""

    shard: str
    version: str
    cell: int
    last: bool
    table: pa.Table
    patch: Patch | None = None

    def filled(self, names: Iterable[str]) -> list[str]:
        """Which of these columns hold a value in any row."""
        return [name for name in names if self.table[name].null_count < self.table.num_rows]


@dataclass(slots=True)
class _OpenCell:
    tables: dict[int, pa.Table] = field(default_factory=dict)
    last_index: int | None = None
    last_cell: bool = False


class CellGatherer:
    """Holds the chunks of unfinished cells.

    Chunks may come in any order and more than once: the same index is the same content, because the plan fixes which
    rows a chunk holds.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], _OpenCell] = {}

    def add(self, chunk: PredictedChunk) -> WholeCell | None:
        """The complete cell, once `chunk` makes it whole."""
        place = chunk.place
        key = place.shard, place.cell
        cell = self._open.setdefault(key, _OpenCell())
        cell.tables[place.index] = chunk.table
        if place.ends_cell:
            cell.last_index, cell.last_cell = place.index, place.last_cell
        if cell.last_index is None or len(cell.tables) <= cell.last_index:
            return None
        del self._open[key]
        table = pa.concat_tables([cell.tables[index] for index in range(cell.last_index + 1)])
        return WholeCell(
            shard=place.shard,
            version=place.version,
            cell=place.cell,
            last=cell.last_cell,
            table=table,
            patch=place.patch,
        )

    def forget(self, shard: str) -> None:
        """Drops the unfinished cells of a shard that could not be read to its end; whole ones may still come."""
        self._open = {key: cell for key, cell in self._open.items() if key[0] != shard}


def commit_cell(job: PredictJob, replacer: Replacer, cell: WholeCell, watch: Stopwatch) -> PartRecord:
    """Writes a cell's part, or its part with a patch; success also when the same part is there already.

    `replacer` is the one of the calling actor, for old parts that have to go before. HeldError when the run has ended.
    """
    with watch.time("write"):
        demand_lease(job.paths, job.run_id)
        if cell.patch is not None:
            return commit_patch(job.paths, cell.patch, cell.table, version=cell.version, run=job.run_id)
        record = record_for(
            cell.table,
            shard=cell.shard,
            version=cell.version,
            cell=cell.cell,
            cell_rows=job.cell_rows,
            last=cell.last,
            definition=job.definition,
            run=job.run_id,
        )
        return replacer.commit(cell.table, record, job.old_parts.get(cell.shard, ()))
