"""What a predict job does with its spec: plan, execute, look, again, until nothing remains or nothing moves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vision_batch import __version__
from vision_batch.errors import EngineError, ModelError, Problem, SpecError, StorageError
from vision_batch.inference.bottleneck import find_bottleneck
from vision_batch.inference.metrics import Metrics
from vision_batch.jobs.forecast import plan_input
from vision_batch.jobs.prepare import Prepared, prepare
from vision_batch.jobs.reporter import Reporter, Silent
from vision_batch.jobs.spec import LoadedSpec
from vision_batch.jobs.summary import RunSummary, Status
from vision_batch.jobs.tally import Tally
from vision_batch.jobs.trial import row_limits
from vision_batch.ledger.definition import ClaimedOutput, claim_definition
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import read_part_schema
from vision_batch.ledger.run_record import RunRecord, RunStatus, new_run_id, write_run
from vision_batch.ledger.state import Work, look, todo, write_manifest
from vision_batch.storage.table import storage_for

if TYPE_CHECKING:
    import pyarrow as pa

    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout

STILL_PASSES = 3
"""A run ends when this many passes in a row have committed nothing."""

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
    works = run.look()
    if not works:
        return run.end("done")
    return run.end(run.work(works, address, verbose))


class PredictRun:
    """One run of a predict job against its output."""

    def __init__(self, prepared: Prepared, reporter: Reporter, started: float) -> None:
        self._prepared = prepared
        self._reporter = reporter
        self._started = started
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._run_id = new_run_id()
        self._tally = Tally()
        self._metrics = Metrics(started)
        self._layout: Layout | None = None
        self._cell_rows = _claim(prepared).cell_rows
        self._known: tuple[StoredPart, ...] | None = None
        self._resumed = 0

    def look(self) -> list[Work]:
        """Plans, looks at the output, removes what a changed input made stale, and says what is to be done."""
        prepared = self._prepared
        self._plan = plan_input(prepared, cell_rows=self._cell_rows, write=True)
        first = self._known is None
        self._state = look(prepared.paths, self._plan, prepared.definition.digest, known=self._known)
        self._known = self._state.parts
        for info in self._state.stale:
            storage_for(info.uri).delete(info.uri)
        if first:
            self._resumed = self._state.images
        self._row_limits = row_limits(prepared, self._plan.shards)
        works = todo(self._plan, self._state)
        return works if self._row_limits is None else [w for w in works if w.shard.key in self._row_limits]

    def work(self, works: list[Work], address: str | None, verbose: bool) -> Status:
        """Connects to Ray and runs passes; returns how it ended."""
        from vision_batch.cluster.connect import connected
        from vision_batch.inference.layout import choose_layout

        self._record("running")
        self._reporter.note(self._opening(works))
        try:
            with connected(address, verbose=verbose) as resources:
                self._layout = choose_layout(resources, self._prepared.settings.compute)
                self._reporter.start(self._state.images_total, self._resumed)
                try:
                    return self._passes(works)
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
            self._record("failed", error=str(error))
            raise

    def _passes(self, works: list[Work]) -> Status:
        still = 0
        while works:
            parts, trouble = self._tally.parts, None
            try:
                self._pass(works)
            except EngineError as error:
                trouble = str(error)  # not the error: its traceback would keep the pass's actors alive
            still = still + 1 if self._tally.parts == parts else 0
            works = self.look()
            if works and still >= STILL_PASSES:
                if trouble is not None:
                    raise EngineError(trouble)
                return "incomplete"
            if works:
                self._reporter.note(f"{len(works)} shards remain{_because(trouble, self._tally)}; trying again")
        return "incomplete" if self._plan.unread else "done"

    def _pass(self, works: Sequence[Work]) -> None:
        from vision_batch.inference.execute import execute

        assert self._layout is not None
        self._tally.troubles.clear()
        with closing(execute(self._job(works, self._layout), self._layout, works)) as events:
            for event in events:
                self._tally.add(event)
                self._metrics.add(event)
                if event.kind == "fatal":
                    raise ModelError(event.message)
                if event.kind == "progress":
                    self._reporter.advance(event.images, sum(event.errors.values()))

    def _job(self, works: Sequence[Work], layout: Layout) -> PredictJob:
        from vision_batch.inference.job import PredictJob

        prepared = self._prepared
        return PredictJob(
            paths=prepared.paths,
            run_id=self._run_id,
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
            extra_fields=self._extra_fields(works),
            row_limits=self._row_limits,
        )

    def _extra_fields(self, works: Sequence[Work]) -> tuple[pa.Field, ...]:
        """The types of `truth` and `input_<name>`: an earlier part's, else those of the first shard that knows them."""
        names = self._prepared.input.extra_names
        if not names:
            return ()
        if self._state.parts:
            schema = read_part_schema(storage_for(self._prepared.paths.output), self._state.parts[0].info)
            return tuple(schema.field(name) for name in names)
        fields: tuple[pa.Field, ...] = ()
        for work in works:
            fields = tuple(self._prepared.format.extra_fields(work.shard, self._prepared.input))
            if not any(field.type == "null" for field in fields):
                break
        return fields

    def _opening(self, works: Sequence[Work]) -> str:
        count = f"{len(works):,} of {len(self._plan.shards):,} shards to do ({self._prepared.input.format})"
        ignored = f"; {self._plan.ignored:,} other files ignored" if self._plan.ignored else ""
        return "\n".join([count + ignored, *(f"warning: {warning}" for warning in self._plan.warnings)])

    def end(self, status: Status) -> RunSummary:
        """Looks once more, records the run, and sums it up."""
        if status == "interrupted":
            self.look()
        if status == "done" and self._plan.unread:
            status = "incomplete"
        write_manifest(self._prepared.paths, self._state)
        self._metrics.write(self._prepared.paths.metrics(self._run_id))
        summary = self._summary(status)
        if self._tally.images or status != "done":
            self._record(status, summary)
        return summary

    def _summary(self, status: Status) -> RunSummary:
        state, tally = self._state, self._tally
        bottleneck = None
        if self._layout is not None:
            bottleneck = find_bottleneck(tally.seconds, self._layout, tally.steady_s)
        return RunSummary(
            run_id=self._run_id,
            status=status,
            images_total=state.images_total,
            images_ok=state.images_ok,
            images_failed=state.images_failed,
            images_resumed=self._resumed,
            failures=dict(state.errors),
            shards_total=len(self._plan.shards),
            shards_done=len(state.complete),
            seconds=round(time.monotonic() - self._started, 3),
            first_batch_seconds=None if tally.first_batch is None else round(tally.first_batch - self._started, 3),
            images_per_second=tally.images_per_second,
            bottleneck=None if bottleneck is None else bottleneck.sentence(),
            output=self._prepared.paths.output,
            warnings=(*self._plan.warnings, *(f"{shard}: {reason}" for shard, reason in tally.troubles.items())),
            predictors=tuple(tally.predictors),
        )

    def _record(self, status: RunStatus, summary: RunSummary | None = None, error: str | None = None) -> None:
        record = RunRecord(
            run_id=self._run_id,
            status=status,
            started=self._started_at,
            definition=self._prepared.definition.digest,
            output=self._prepared.paths.output,
            version=__version__,
            spec=self._prepared.raw,
            predictors=tuple(self._tally.predictors),
            error=error,
        )
        if status != "running":
            ended = datetime.now(UTC).isoformat(timespec="seconds")
            record = replace(record, ended=ended, seconds=round(time.monotonic() - self._started, 3))
        if summary is not None:
            record = replace(record, counts=summary.as_dict())
        write_run(self._prepared.paths, record)


def _claim(prepared: Prepared) -> ClaimedOutput:
    try:
        return claim_definition(prepared.paths, prepared.definition)
    except StorageError as error:
        raise SpecError(Problem("output.uri", str(error), "a folder that can be read and written")) from error


def _because(trouble: str | None, tally: Tally) -> str:
    reasons = [trouble] if trouble is not None else list(tally.troubles.values())
    return f" ({reasons[0]})" if reasons else ""
