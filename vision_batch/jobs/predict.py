"""What a predict job does with its spec: plan, execute, look, again, until nothing remains or nothing moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vision_batch import __version__
from vision_batch.errors import EngineError, ModelError, NotFoundError, SpecError, StorageError
from vision_batch.inference.bottleneck import find_bottleneck
from vision_batch.inference.metrics import Metrics
from vision_batch.jobs.columns import extra_fields
from vision_batch.jobs.forecast import plan_input
from vision_batch.jobs.prepare import Prepared, prepare, reading_input, reading_output
from vision_batch.jobs.reporter import Reporter, Silent
from vision_batch.jobs.spec import LoadedSpec
from vision_batch.jobs.summary import RunSummary, Status
from vision_batch.jobs.tally import Expectation, Tally
from vision_batch.jobs.trial import row_limits
from vision_batch.ledger.definition import claim_definition, release_definition
from vision_batch.ledger.plan import Plan
from vision_batch.ledger.run_record import RunRecord, RunStatus, new_run_id, write_run
from vision_batch.ledger.state import OutputState, Work, look, todo, write_manifest
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for

if TYPE_CHECKING:
    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout, Resources

STILL_PASSES = 3
"""A run ends when Ray has given up on this many passes in a row that committed nothing."""

WARNINGS_SHOWN = 10

GRACE_S = 2.0
"""After an interrupt, the time that whole cells have to reach the storage before their actors end."""


def run_predict(
    spec: LoadedSpec,
    *,
    address: str | None = None,
    limit: int | None = None,
    reporter: Reporter | None = None,
    verbose: bool = False,
) -> RunSummary:
    """Runs the job until it is done, and says how it ended.

    `address` names a Ray cluster, None starts a local one; `limit` takes the first N images only. SpecError, before
    anything is started, when the spec or its surroundings are wrong; ModelError or EngineError when the run failed:
    what was committed stays, and running again resumes. An interrupt ends the run in order.
    """
    started = time.monotonic()
    run = PredictRun(prepare(spec, limit=limit), reporter or Silent(), started)
    works = run.begin(on_this_machine=address is None)
    if not works:
        return run.end("incomplete" if run.plan.unread else "done")
    return run.end(run.work(works, address, verbose))


class PredictRun:
    """One run of a predict job against its output."""

    plan: Plan
    state: OutputState

    def __init__(self, prepared: Prepared, reporter: Reporter, started: float) -> None:
        self._prepared = prepared
        self._reporter = reporter
        self._started = started
        self._record = RunRecord(
            run_id=new_run_id(),
            status="running",
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            definition=prepared.definition.digest,
            output=prepared.paths.output,
            version=__version__,
            spec=prepared.raw,
        )
        self._tally = Tally()
        self._metrics = Metrics(started)
        self._layout: Layout | None = None
        self._warnings: list[str] = []
        self._is_recorded = False

    def begin(self, *, on_this_machine: bool) -> list[Work]:
        """Claims the output, plans and looks; says what is to be done. SpecError before anything is written."""
        if on_this_machine:
            from vision_batch.cluster.machine import machine_resources

            self._choose_layout(machine_resources(), shards=1)
        with reading_output():
            self._cell_rows = claim_definition(self._prepared.paths, self._prepared.definition).cell_rows
        self.plan = plan_input(self._prepared, cell_rows=self._cell_rows, write=True)
        with reading_input():
            self._row_limits = row_limits(self._prepared, self.plan.shards)
        self._look(first=True)
        self._resumed = self.state.images
        return self._todo()

    def _look(self, *, first: bool = False) -> None:
        """Looks at the output and removes what a changed input has made stale."""
        paths = self._prepared.paths
        known = None if first else self.state.parts
        self.state = look(paths, self.plan, self._prepared.definition.digest, known=known)
        for info in self.state.stale:
            _delete(info)

    def _todo(self) -> list[Work]:
        works = todo(self.plan, self.state)
        return works if self._row_limits is None else [w for w in works if w.shard.key in self._row_limits]

    def work(self, works: list[Work], address: str | None, verbose: bool) -> Status:
        """Connects to Ray and runs passes; returns how it ended."""
        from vision_batch.cluster.connect import connected

        with reading_output():
            write_run(self._prepared.paths, self._record)
        self._is_recorded = True
        self._reporter.note(self._opening(works))
        try:
            with connected(address, verbose=verbose) as resources:
                try:
                    return self._passes(works, resources)
                except KeyboardInterrupt:
                    self._reporter.note("stopping: what is whole is committed; run again to resume")
                    with suppress(KeyboardInterrupt):
                        time.sleep(GRACE_S)
                    return "interrupted"
                finally:
                    self._reporter.finish()
        except KeyboardInterrupt:
            return "interrupted"
        except Exception as error:
            self._close("failed", error=str(error))
            if self._prepared.claimed is None:
                self._leave("the ledger", lambda: release_definition(self._prepared.paths))
            raise

    def _passes(self, works: list[Work], resources: Resources) -> Status:
        total = self._images_total()
        estimate = self.state.images_estimate
        self._expectation = Expectation(works, total, estimate, self._resumed, self._cell_rows)
        self._reporter.start(self._expectation.images, self._resumed)
        still, is_proven = 0, self.state.images_ok > 0
        while works:
            self._choose_layout(resources, shards=len(works))
            cells, trouble = _count_cells(self.state), None
            try:
                self._pass(works, is_proven)
            except EngineError as error:
                trouble = str(error)  # not the error: its traceback would keep the pass's actors alive
            works = self._look_again()
            is_still = _count_cells(self.state) <= cells
            still = still + 1 if is_still else 0
            if self._tally.withheld_batches and is_still and not is_proven and trouble is None:
                is_proven = True  # too few batches to tell: they were the whole input, so let them have their rows
            elif works and is_still and (trouble is None or still >= STILL_PASSES):
                if trouble is not None:
                    raise EngineError(trouble)
                return "incomplete"
            if works:
                self._reporter.note(f"{len(works)} shards remain{self._because(trouble)}; trying again")
        return "incomplete" if self.plan.unread else "done"

    def _look_again(self) -> list[Work]:
        """Plans and looks as at the beginning; what fails now is no longer the spec's fault."""
        try:
            self.plan = plan_input(self._prepared, cell_rows=self._cell_rows, write=True)
            self._look()
        except SpecError as error:
            raise EngineError(f"the input or output could not be looked at again: {error}") from error
        return self._todo()

    def _choose_layout(self, resources: Resources, *, shards: int) -> None:
        from vision_batch.inference.layout import choose_layout

        compute, output_px = self._prepared.settings.compute, self._prepared.preprocess.output_px
        self._layout = choose_layout(resources, compute, shards=shards, output_px=output_px)

    def _pass(self, works: Sequence[Work], is_proven: bool) -> None:
        from vision_batch.inference.execute import execute
        from vision_batch.inference.model_stage import FATAL_BATCHES, broken_model

        assert self._layout is not None
        tally = self._tally
        tally.begin_pass()
        with closing(execute(self._job(works, self._layout, is_proven), self._layout, works)) as events:
            for event in events:
                tally.add(event)
                self._metrics.add(event)
                if event.kind == "fatal":
                    raise ModelError(event.message)
                if tally.withheld_batches >= FATAL_BATCHES and not tally.images_ok:
                    raise broken_model(tally.last_failure)
                if event.kind == "progress":
                    self._reporter.advance(event.images, sum(event.errors.values()))
                if self._expectation.add(event):
                    self._reporter.expect(self._expectation.images)

    def _job(self, works: Sequence[Work], layout: Layout, is_proven: bool) -> PredictJob:
        from vision_batch.inference.job import PredictJob

        prepared = self._prepared
        return PredictJob(
            paths=prepared.paths,
            run_id=self._record.run_id,
            definition=prepared.definition.digest,
            input=prepared.input,
            format=prepared.input.format,
            preprocess=prepared.preprocess,
            function=prepared.function,
            model=prepared.model,
            task=prepared.settings.task,
            max_pixels=prepared.settings.limits.max_pixels,
            precision=prepared.precision,
            cell_rows=self._cell_rows,
            batch_rows=layout.batch_rows,
            extra_fields=extra_fields(prepared, self.state.parts, (work.shard for work in works)),
            proven=is_proven,
            row_limits=self._row_limits,
        )

    def _opening(self, works: Sequence[Work]) -> str:
        count = f"{len(works):,} of {len(self.plan.shards):,} shards to do ({self._prepared.input.format})"
        ignored = f"; {self.plan.ignored:,} other files ignored" if self.plan.ignored else ""
        return "\n".join([count + ignored, *(f"warning: {warning}" for warning in self.plan.warnings)])

    def _because(self, trouble: str | None) -> str:
        reasons = [trouble] if trouble is not None else list(self._tally.troubles.values())
        return f" ({reasons[0]})" if reasons else ""

    def _images_total(self) -> int | None:
        total = self.state.images_total
        if self._row_limits is None:
            return total
        wanted = sum(self._row_limits.values())
        return wanted if total is None else min(wanted, total)

    def end(self, status: Status) -> RunSummary:
        """Looks once more where the run was cut short, records it, and sums it up."""
        if status == "interrupted":
            with suppress(StorageError):
                self._look()
        return self._close(status)

    def _close(self, status: RunStatus, error: str | None = None) -> RunSummary:
        """Leaves manifest, metrics and record; failing to is worth a warning and changes nothing of what was done."""
        paths = self._prepared.paths
        self._leave("the manifest", lambda: write_manifest(paths, self.state))
        self._leave("the metrics", lambda: self._metrics.write(paths.metrics(self._record.run_id)))
        summary = self._summary(status)
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        record = replace(
            self._record,
            status=status,
            ended=ended,
            seconds=summary.seconds,
            counts=summary.as_dict(),
            predictors=summary.predictors,
            error=error,
        )
        if self._is_recorded:
            self._leave("the run's record", lambda: write_run(paths, record))
        return replace(summary, warnings=(*summary.warnings, *self._warnings))

    def _leave(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except StorageError as error:
            self._warnings.append(f"{what} could not be written: {error}")

    def _summary(self, status: RunStatus) -> RunSummary:
        state, tally = self.state, self._tally
        bottleneck = None
        if self._layout is not None:
            bottleneck = find_bottleneck(tally.seconds, self._layout, tally.steady_s)
        rate = tally.images_per_second
        return RunSummary(
            run_id=self._record.run_id,
            status=status,
            images_total=self._images_total(),
            images_ok=state.images_ok,
            images_failed=state.images_failed,
            images_resumed=self._resumed,
            failures=dict(state.errors),
            shards_total=len(self.plan.shards) if self._row_limits is None else len(self._row_limits),
            shards_done=len(state.complete),
            seconds=round(time.monotonic() - self._started, 3),
            first_batch_seconds=None if tally.first_batch is None else round(tally.first_batch - self._started, 3),
            images_per_second=None if rate is None else round(rate, 1),
            bottleneck=None if bottleneck is None else bottleneck.sentence(),
            output=self._prepared.paths.output,
            warnings=(*self.plan.warnings, *_first(f"{shard}: {reason}" for shard, reason in tally.troubles.items())),
            predictors=tuple(tally.predictors),
            stages={stage: round(seconds, 3) for stage, seconds in tally.seconds.items()},
        )


def _count_cells(state: OutputState) -> int:
    return sum(len(cells) for cells in state.done.values())


def _delete(info: ObjectInfo) -> None:
    """Removes a stale part, unless another run has put a new one in its place meanwhile."""
    storage = storage_for(info.uri)
    with suppress(NotFoundError):
        if storage.stat(info.uri).version == info.version:
            storage.delete(info.uri)


def _first(lines: Iterable[str]) -> list[str]:
    """The first few of many lines, and how many more there are."""
    said = list(lines)
    more = [f"… and {len(said) - WARNINGS_SHOWN:,} more"] if len(said) > WARNINGS_SHOWN else []
    return [*said[:WARNINGS_SHOWN], *more]
