"""What a run still has to do: the plan of its input, the state of its output, and the works between the two."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from vision_batch.errors import LedgerError, NotFoundError, SpecError, StorageError, UnavailableError
from vision_batch.jobs.forecast import plan_input
from vision_batch.jobs.prepare import Prepared, reading_input, reading_output
from vision_batch.jobs.trial import row_limits
from vision_batch.ledger.change import change_patches
from vision_batch.ledger.definition import claim_definition
from vision_batch.ledger.lease import demand_lease
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.members import collect_members
from vision_batch.ledger.part import with_way_out
from vision_batch.ledger.patch import Patch, commit_patch
from vision_batch.ledger.plan import Plan
from vision_batch.ledger.replace import finish_replacements, remove_parts
from vision_batch.ledger.retry import with_retries
from vision_batch.ledger.scratch import clear_scratch
from vision_batch.ledger.state import OutputState, Work, look, todo
from vision_batch.storage.object_info import ObjectInfo

WRITERS = 16


class Backlog:
    """Plan and state are what the latest look has found; `resumed` counts images that were done before the run, and
    `resumed_failed` the error rows among them.

    `row_limits` are those of a trial, None for a whole run. `pruned` counts the files whose rows go. `trouble` is why
    the latest plan or look could not be made, so that an earlier one stands, or None. `damaged` says which parts are
    too damaged to have their error rows processed again, and the way out.
    """

    trouble: str | None = None
    damaged: tuple[str, ...] = ()
    plan: Plan
    state: OutputState

    def __init__(self, prepared: Prepared, run_id: str, *, retry: Collection[str] = (), prune: bool = False) -> None:
        """Claims the output, plans and looks. SpecError before anything is written.

        Error rows with one of the codes `retry` count as not done until this run has replaced them. With `prune` the
        rows of what has left the input are removed.
        """
        self._prepared = prepared
        self._run_id = run_id
        self._retry = retry
        self._unpatchable: set[ObjectInfo] = set()
        with reading_output():
            self.cell_rows = claim_definition(
                prepared.paths, prepared.definition, cell_rows=prepared.cell_rows, labels=prepared.model.labels
            ).cell_rows
            clear_scratch(prepared.paths)
        self.plan = plan_input(prepared, cell_rows=self.cell_rows, write=True, prune=prune)
        self.pruned = self.plan.pruned
        with reading_input():
            self.row_limits = row_limits(prepared, self.plan.shards)
        with reading_output():
            self._look(known=None)
        self._to_retry = self._rows_to_retry()
        self.resumed = self._images_kept()
        self.resumed_failed = self.state.images_failed - sum(patch.retried for patch in self._patches_of_done())

    def look(self) -> None:
        """Looks at the output and removes what a changed input has made stale."""
        self._look(known=self.state.parts)

    def look_again(self) -> list[Work]:
        """Plans and looks as at the beginning; where the storage refuses, what was seen before stands."""
        self.trouble = None
        try:
            self.plan = plan_input(self._prepared, cell_rows=self.cell_rows, write=True)
        except (SpecError, UnavailableError) as error:
            self.trouble = f"the input could not be planned again: {error}"
        try:
            self.look()
        except StorageError as error:
            self.trouble = f"the output could not be looked at again, and has more rows than are counted here: {error}"
        return self.works()

    def collect(self) -> None:
        """Removes what the ledger stores of groups as they were, unless parts of then are still there to be patched."""
        if self.trouble is None and not self.state.replaced:
            with suppress(StorageError):  # the next run comes by
                collect_members(self._prepared.paths, self.plan.segments, self.plan.members)

    def old_parts(self, works: Sequence[Work]) -> dict[str, tuple[ObjectInfo, ...]]:
        """By shard, the parts that must go before the first new one of its source comes; patches see to their own."""
        replaced = {source: tuple(part.info for part in parts) for source, parts in self.state.replaced.items()}
        return {
            work.shard.key: replaced[work.shard.source]
            for work in works
            if work.shard.source in replaced and not work.patches
        }

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
        return sum(map(len, self.state.done.values())) - len(self._patches_of_done())

    @property
    def retried(self) -> int:
        """Error rows that this run has processed again, whatever became of them."""
        return self._to_retry - self._rows_to_retry()

    def _rows_to_retry(self) -> int:
        return sum(patch.retried for patches in self._patches.values() for patch in patches)

    def _images_kept(self) -> int:
        """Rows that are done and stay as they are."""
        kept = sum(patch.kept for patches in self._patches.values() for patch in patches)
        return self.state.images - sum(patch.base.record.rows for patch in self._patches_of_done()) + kept

    def _patches_of_done(self) -> list[Patch]:
        """Those of cells that count as done: of the planned version, but with rows to retry."""
        done = self.state.done
        return [patch for key, patches in self._patches.items() for patch in patches if patch.cell in done.get(key, ())]

    def _look(self, *, known: Sequence[StoredPart] | None) -> None:
        finish_replacements(self._prepared.paths, self._run_id)
        self._look_once(known)
        drops = {key: patch for key, (patch, *_) in self._patches.items() if not patch.rows}
        if drops:
            self._drop(drops)
            self._look_once(self.state.parts)

    def _look_once(self, known: Sequence[StoredPart] | None) -> None:
        prepared = self._prepared
        self.state = look(prepared.paths, self.plan, prepared.definition.digest, known=known)
        changed: Mapping[str, Patch] = {}
        if self.row_limits is None:
            patches = change_patches(prepared.paths, self.plan.shards, self.state.replaced)
            changed = {key: patch for key, patch in patches.items() if patch.base.info not in self._unpatchable}
        else:  # which images are the first ones has changed with the input
            self._remove([part.info for parts in self.state.replaced.values() for part in parts])
            self.state = replace(self.state, replaced={})
        self._remove(self.state.stale)
        self._patches, damaged = with_retries(changed, self.state.current, self._retry, self._run_id)
        self.damaged = tuple(str(with_way_out(error, prepared.paths)) for error in damaged)

    def _remove(self, infos: Collection[ObjectInfo]) -> None:
        """HeldError when the plan may be outdated: to a run that was suspended its successor's parts look stale."""
        if infos:
            demand_lease(self._prepared.paths, self._run_id)
            remove_parts(self._prepared.paths, infos)

    def _drop(self, patches: Mapping[str, Patch]) -> None:
        """Patches that compute nothing need no Ray. A part that cannot be patched is computed whole."""
        versions = {shard.key: shard.version for shard in self.plan.shards if shard.key in patches}

        def commit(key: str) -> None:
            try:
                commit_patch(self._prepared.paths, patches[key], None, version=versions[key], run=self._run_id)
            except (LedgerError, NotFoundError):
                self._unpatchable.add(patches[key].base.info)

        with ThreadPoolExecutor(WRITERS, "drop") as pool:
            for _ in pool.map(commit, patches):
                pass
