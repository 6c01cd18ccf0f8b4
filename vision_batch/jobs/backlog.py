"""What a run still has to do: the plan of its input, the state of its output, and the works between the two."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

from vision_batch.errors import NotFoundError, SpecError, StorageError
from vision_batch.jobs.forecast import plan_input
from vision_batch.jobs.prepare import Prepared, reading_input, reading_output
from vision_batch.jobs.trial import row_limits
from vision_batch.ledger.definition import claim_definition
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.plan import Plan
from vision_batch.ledger.retry import retry_patches
from vision_batch.ledger.scratch import clear_scratch
from vision_batch.ledger.state import OutputState, Work, look, todo
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for


class Backlog:
    """Plan and state are what the latest look has found; `resumed` counts images that were done before the run.

    `row_limits` are those of a trial, None for a whole run. `trouble` is why the latest plan or look could not be made,
    so that an earlier one stands, or None.
    """

    trouble: str | None = None
    plan: Plan
    state: OutputState

    def __init__(self, prepared: Prepared, run_id: str, retry: Collection[str] = ()) -> None:
        """Claims the output, plans and looks. SpecError before anything is written.

        Error rows with one of the codes `retry` count as not done until this run has replaced them.
        """
        self._prepared = prepared
        self._run_id = run_id
        self._retry = retry
        with reading_output():
            self.cell_rows = claim_definition(prepared.paths, prepared.definition).cell_rows
            clear_scratch(prepared.paths)
        self.plan = plan_input(prepared, cell_rows=self.cell_rows, write=True)
        with reading_input():
            self.row_limits = row_limits(prepared, self.plan.shards)
        with reading_output():
            self._look(known=None)
        self._to_retry = self._rows_to_retry()
        self.resumed = self.state.images - self._to_retry

    def look(self) -> None:
        """Looks at the output and removes what a changed input has made stale."""
        self._look(known=self.state.parts)

    def look_again(self) -> list[Work]:
        """Plans and looks as at the beginning; where the storage refuses, what was seen before stands."""
        self.trouble = None
        try:
            self.plan = plan_input(self._prepared, cell_rows=self.cell_rows, write=True)
        except SpecError as error:
            self.trouble = f"the input could not be planned again: {error}"
        try:
            self.look()
        except StorageError as error:
            self.trouble = f"the output could not be looked at again, and has more rows than are counted here: {error}"
        return self.works()

    def works(self) -> list[Work]:
        """What is to be done, in the plan's order."""
        works = todo(self.plan, self.state, self._patches)
        return works if self.row_limits is None else [w for w in works if w.shard.key in self.row_limits]

    @property
    def images_total(self) -> int | None:
        """Images that the run is to have in the end; None while some shard's count is not known."""
        total = self.state.images_total
        if self.row_limits is None:
            return total
        wanted = sum(self.row_limits.values())
        return wanted if total is None else min(wanted, total)

    @property
    def shards_total(self) -> int:
        return len(self.plan.shards) if self.row_limits is None else len(self.row_limits)

    @property
    def cells_done(self) -> int:
        """Cells with nothing left to do: while a run makes progress there are more of them after each pass."""
        return sum(map(len, self.state.done.values())) - sum(map(len, self._patches.values()))

    @property
    def retried(self) -> int:
        """Error rows that this run has processed again, whatever became of them."""
        return self._to_retry - self._rows_to_retry()

    def _rows_to_retry(self) -> int:
        return sum(len(patch.rows) for patches in self._patches.values() for patch in patches)

    def _look(self, *, known: Sequence[StoredPart] | None) -> None:
        prepared = self._prepared
        self.state = look(prepared.paths, self.plan, prepared.definition.digest, known=known)
        for info in self.state.stale:
            _delete(info)
        self._patches = retry_patches(self.state.current, self._retry, self._run_id)


def _delete(info: ObjectInfo) -> None:
    """Removes a stale part, unless another run has put a new one in its place meanwhile."""
    storage = storage_for(info.uri)
    with suppress(NotFoundError):
        if storage.stat(info.uri).version == info.version:
            storage.delete(info.uri)
