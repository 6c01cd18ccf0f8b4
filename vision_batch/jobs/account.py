"""What a run leaves behind: manifest, metrics, its record, and the summary that they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from vision_batch.errors import HeldError, StorageError
from vision_batch.inference.bottleneck import find_bottleneck
from vision_batch.inference.event import Event
from vision_batch.inference.metrics import Metrics
from vision_batch.jobs.backlog import Backlog
from vision_batch.jobs.prepare import Prepared, reading_output
from vision_batch.jobs.summary import RunSummary
from vision_batch.jobs.tally import Tally
from vision_batch.ledger.definition import release_definition
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.run_record import RunRecord, RunStatus, write_run
from vision_batch.ledger.state import OutputState, write_manifest

if TYPE_CHECKING:
    from vision_batch.inference.layout import Layout
    from vision_batch.inference.lever import Setting

WARNINGS_SHOWN = 10


class Account:
    """Counts one run's events and says in the end, to the user and in the ledger, how it went."""

    def __init__(self, prepared: Prepared, started: float) -> None:
        """`started` is of time.monotonic()."""
        self._prepared = prepared
        self._started = started
        self._record = RunRecord.begun(
            definition=prepared.definition.digest, output=prepared.paths.output, spec=prepared.raw
        )
        self._metrics = Metrics(started)
        self._warnings: list[str] = []
        self._is_recorded = False
        self._cpus, self._gpus = 0, 0.0
        self.tally = Tally()

    @property
    def run_id(self) -> str:
        return self._record.run_id

    def define(self, prepared: Prepared) -> None:
        """Takes the definition that has been completed since."""
        self._prepared = prepared
        self._record = replace(self._record, definition=prepared.definition.digest)

    def reserve(self, layout: Layout) -> None:
        """Takes note of what a pass is about to have."""
        self._cpus, self._gpus = max(self._cpus, layout.cpus), max(self._gpus, layout.gpus)

    def open(self) -> None:
        """Records that the run is at work. SpecError when the ledger cannot be written."""
        with reading_output():
            write_run(self._prepared.paths, self._record)
        self._is_recorded = True

    def add(self, event: Event) -> None:
        self.tally.add(event)
        self._metrics.add(event)

    def close(
        self, status: RunStatus, backlog: Backlog, setting: Setting | None, error: str | None = None
    ) -> RunSummary:
        """Leaves manifest, metrics and record; failing to is worth a warning and changes nothing of what was done."""
        paths = self._prepared.paths
        self._leave("the manifest", lambda: write_manifest(paths, backlog.state))
        self._leave("the metrics", lambda: self._metrics.write(paths.metrics(self.run_id)))
        summary = self._summary(status, backlog, setting)
        record = self._record.ended_now(
            status, seconds=summary.seconds, counts=summary.as_dict(), predictors=summary.predictors, error=error
        )
        if self._is_recorded:
            self._leave("the run's record", lambda: write_run(paths, record))
        return replace(summary, warnings=(*summary.warnings, *self._warnings))

    def release(self) -> None:
        """Gives back an output that this run was the first to claim and wrote no part to, unless another run has it."""
        if self._prepared.claimed is None:
            with suppress(HeldError):
                self._leave("the ledger", lambda: release_definition(self._prepared.paths, self.run_id))

    def _leave(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except StorageError as error:
            self._warnings.append(f"{what} could not be written: {error}")

    def _summary(self, status: RunStatus, backlog: Backlog, setting: Setting | None) -> RunSummary:
        state, tally = backlog.state, self.tally
        bottleneck = None if setting is None else find_bottleneck(tally.laps, setting, tally.steady_s)
        rate = tally.images_per_second
        warnings = [
            *_foreign(state),
            *backlog.plan.warnings,
            *tally.warnings(self._prepared.input.extra_names),
            *_first([*backlog.damaged, *(f"{shard}: {reason}" for shard, reason in tally.troubles.items())]),
            *([] if backlog.trouble is None else [backlog.trouble]),
        ]
        return RunSummary(
            run_id=self.run_id,
            status=status,
            precision=self._prepared.precision,
            images_total=backlog.images_total,
            images_ok=state.images_ok,
            images_failed=state.images_failed,
            images_resumed=backlog.resumed,
            images_retried=backlog.retried,
            files_pruned=backlog.pruned,
            failures=dict(state.errors),
            shards_total=backlog.shards_total,
            shards_done=len(state.complete),
            seconds=round(time.monotonic() - self._started, 3),
            first_batch_seconds=None if tally.first_batch is None else round(tally.first_batch - self._started, 3),
            images_per_second=None if rate is None else round(rate, 1),
            bottleneck=None if bottleneck is None else bottleneck.sentence(),
            output=self._prepared.paths.output,
            cpus=self._cpus,
            gpus=self._gpus,
            warnings=tuple(warnings),
            predictors=tuple(tally.predictors),
            batch_sizes=dict(tally.batch_sizes),
            stages={stage: round(spent.wall_s, 3) for stage, spent in tally.work.stages.items()},
        )


def _foreign(state: OutputState) -> list[str]:
    """What readers of OUTPUT/*.parquet see besides the parts; what holds a part's place is told of where it is met."""
    others = [file for file in state.foreign if LedgerPaths.stem_of(file.info.uri) is None]
    return _first(f"{file.info.uri}: {file.reason}; readers see it too: move it out of the output" for file in others)


def _first(lines: Iterable[str]) -> list[str]:
    """The first few of many lines, and how many more there are."""
    said = list(lines)
    more = [f"… and {len(said) - WARNINGS_SHOWN:,} more"] if len(said) > WARNINGS_SHOWN else []
    return [*said[:WARNINGS_SHOWN], *more]
