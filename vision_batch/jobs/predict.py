"""What a predict job does with its spec: plan, execute, look, again, until nothing remains or nothing moves."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

from vision_batch.errors import EngineError, HeldError, ModelError, StorageError
from vision_batch.inference.settings import AUTO, EXACT
from vision_batch.jobs.account import Account
from vision_batch.jobs.backlog import Backlog
from vision_batch.jobs.columns import extra_fields
from vision_batch.jobs.interrupt import ending_in_order
from vision_batch.jobs.placement import Placement
from vision_batch.jobs.prepare import Prepared, prepare, reading_output
from vision_batch.jobs.reporter import Reporter, Silent, Standing
from vision_batch.jobs.spec import AnySpec
from vision_batch.jobs.summary import RunSummary, Status
from vision_batch.jobs.tally import Expectation
from vision_batch.ledger.definition import check_definition
from vision_batch.ledger.lease import Lease, held_lease
from vision_batch.ledger.state import Work

if TYPE_CHECKING:
    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout, Resources
    from vision_batch.inference.live_metrics import LiveMetrics

STILL_PASSES = 3
"""A run ends when Ray has given up on this many passes in a row that committed nothing."""

FATAL_CRASHES = 3
"""When the work on this many shards, one after the other, kills its processes, the code or the machine is at fault."""


def run_predict(
    spec: AnySpec,
    *,
    address: str | None = None,
    limit: int | None = None,
    retry_errors: Collection[str] = (),
    prune: bool = False,
    reporter: Reporter | None = None,
    verbose: bool = False,
) -> RunSummary:
    """Runs the job until it is done, and says how it ended.

    `address` names a Ray cluster, None starts a local one; `limit` takes the first N images only; error rows with one
    of the codes `retry_errors` are processed again; with `prune` rows of what has left the input are removed.
    SpecError, before anything is started, when the spec or its surroundings are wrong; HeldError when another run works
    on the output; ModelError or EngineError when the run failed: what was committed stays, and running again resumes.
    An interrupt ends the run in order.
    """
    started = time.monotonic()
    run = PredictRun(prepare(spec, limit=limit), reporter or Silent(), started, retry_errors, prune)
    run.check(on_this_machine=address is None)
    with run.holding_output():
        run.decide_precision(address, verbose)
        works = run.begin()
        if not works:
            return run.end(run.settled)
        return run.end(run.work(works, address, verbose))


class PredictRun:
    """One run of a predict job against its output."""

    _backlog: Backlog
    _lease: Lease
    _live: LiveMetrics

    def __init__(
        self,
        prepared: Prepared,
        reporter: Reporter,
        started: float,
        retry_errors: Collection[str] = (),
        prune: bool = False,
    ) -> None:
        self._prepared = prepared
        self._reporter = reporter
        self._retry_errors = retry_errors
        self._prune = prune
        self._account = Account(prepared, started)
        self._placement = Placement(prepared, reporter)
        self._ray = ExitStack()
        self._resources: Resources | None = None
        self._is_tried = True

    def check(self, *, on_this_machine: bool) -> None:
        """SpecError, before anything is written, where the spec suits neither this machine nor the output."""
        if on_this_machine:
            from vision_batch.cluster.machine import machine_resources

            self._placement.choose(machine_resources(), shards=1)
        if self._prepared.claimed is not None:
            check_definition(self._prepared.paths, self._prepared.definition, self._prepared.claimed)

    @contextmanager
    def holding_output(self) -> Iterator[None]:
        """Holds the output's lease during the block; a first run that fails gives an output without parts back."""
        with ExitStack() as stack:
            with reading_output():
                lease = held_lease(self._prepared.paths, self._account.run_id, note=self._reporter.note)
                self._lease = stack.enter_context(lease)
            stack.enter_context(self._ray)
            try:
                yield
            except HeldError:
                raise
            except Exception:
                self._account.release()
                raise

    def decide_precision(self, address: str | None, verbose: bool) -> None:
        """Says what `auto` stands for in an output that is not claimed yet: tried where predictors will have GPUs."""
        if self._prepared.precision != AUTO:
            return
        if address is not None:
            self._connect(address, verbose)
            self._placement.choose_with_room(shards=1, confirm=self._lease.demand)
        layout = self._placement.layout
        precision = EXACT
        if layout is not None and layout.gpus_per_predictor:
            precision = self._tried_precision(address, verbose, layout)
        self._prepared = self._prepared.with_precision(precision)
        self._account.define(self._prepared)

    def _tried_precision(self, address: str | None, verbose: bool, layout: Layout) -> str:
        from vision_batch.inference.precision_trial import decide_precision

        self._connect(address, verbose)
        self._reporter.note("trying a lower precision on the first images, as soon as a GPU is free")
        self._reporter.wait("for a GPU to try a lower precision on")
        decision = decide_precision(self._prepared.precision_trial(), layout)
        self._reporter.wait(None)
        if decision is None:
            self._is_tried = False
            self._reporter.note(f"precision {EXACT}, for what this run does: it could read no image to try a lower one")
            return EXACT
        self._reporter.note(f"precision {decision.precision}, for this output for good ({decision.reason})")
        return decision.precision

    def _connect(self, address: str | None, verbose: bool) -> Resources:
        """What the Ray has that the run works on; it is left when `self._ray` is closed."""
        from vision_batch.cluster.connect import connected

        if self._resources is None:
            self._reporter.wait("for Ray")
            self._resources = self._ray.enter_context(connected(address, verbose=verbose))
            self._reporter.wait(None)
        return self._resources

    def begin(self) -> list[Work]:
        """Claims the output, plans and looks; says what is to be done."""
        self._backlog = Backlog(self._prepared, self._account.run_id, retry=self._retry_errors, prune=self._prune)
        return self._backlog.works()

    @property
    def settled(self) -> Status:
        """How a run ends that has nothing left to do."""
        return "incomplete" if self._backlog.plan.unread or self._backlog.damaged else "done"

    def work(self, works: list[Work], address: str | None, verbose: bool) -> Status:
        """Connects to Ray and runs passes; returns how it ended."""
        self._account.open()
        self._reporter.note(self._opening(works))
        try:
            with self._ray:
                resources = self._connect(address, verbose)
                try:
                    with self._live_metrics() as self._live:
                        return self._passes(works, resources, on_cluster=address is not None)
                finally:
                    self._reporter.finish()
        except KeyboardInterrupt:
            return "interrupted"
        except Exception as error:
            self._account.close("failed", self._backlog, self._placement.setting, error=str(error))
            raise

    def _live_metrics(self) -> LiveMetrics:
        from vision_batch.inference.live_metrics import LiveMetrics

        return LiveMetrics(self._prepared.settings.name)

    def _passes(self, works: list[Work], resources: Resources, *, on_cluster: bool) -> Status:
        backlog, tally = self._backlog, self._account.tally
        estimate = backlog.state.images_estimate
        self._expectation = Expectation(works, backlog.images_total, estimate, backlog.resumed, backlog.cell_rows)
        self._reporter.start(
            Standing(
                images_total=self._expectation.images,
                images_done=backlog.resumed,
                images_failed=backlog.resumed_failed,
                shards_total=backlog.shards_total,
                shards_done=backlog.shards_total - len(works),
            )
        )
        self._live.expect(self._images_left)
        still, is_proven = 0, backlog.state.images_ok > 0
        while works:
            if on_cluster:
                layout = self._placement.choose_with_room(shards=len(works), confirm=self._lease.demand)
            else:
                layout = self._placement.choose(resources, shards=len(works))
            cells, trouble = backlog.cells_done, None
            try:
                self._pass(works, layout, is_proven)
            except EngineError as error:
                trouble = str(error)  # not the error: its traceback would keep the pass's actors alive
            self._lease.confirm()
            works = backlog.look_again()
            self._reporter.complete(backlog.shards_total - len(works))
            if works and (backlog.trouble or tally.output_is_closed):
                return "incomplete"
            is_still = backlog.cells_done <= cells
            still = still + 1 if is_still else 0
            if tally.withheld_batches and is_still and not is_proven and trouble is None:
                is_proven = True  # too few batches to tell: they were the whole input, so let them have their rows
            elif works and is_still and (trouble is None or still >= STILL_PASSES):
                if trouble is not None:
                    raise EngineError(trouble)
                return "incomplete"
            if works:
                self._reporter.note(f"{len(works)} shards remain{self._because(trouble)}; trying again")
        backlog.collect()
        return self.settled

    def _pass(self, works: Sequence[Work], layout: Layout, is_proven: bool) -> None:
        from vision_batch.inference.execute import execute
        from vision_batch.inference.model_trial import FATAL_BATCHES, broken_model

        self._account.reserve(layout)
        tally = self._account.tally
        tally.begin_pass()
        job = self._job(works, layout, is_proven)
        self._live.begin_pass(layout, works, self._images_left)
        with (
            ending_in_order(self._stop, tally.writing),
            closing(execute(job, layout, works)) as events,
        ):
            for event in events:
                self._lease.demand()
                self._account.add(event)
                self._live.add(event)
                if event.kind == "fatal" or (event.kind == "crashed" and self._is_hopeless(is_proven)):
                    raise ModelError(event.message)
                if tally.withheld_batches >= FATAL_BATCHES and not tally.images_ok:
                    raise broken_model(tally.last_failure)
                if event.kind == "progress":
                    self._reporter.advance(event.images, sum(event.errors.values()))
                if event.kind == "part" and event.last:
                    self._reporter.complete(self._backlog.shards_total - len(works) + len(tally.ended))
                if self._expectation.add(event):
                    self._reporter.expect(self._expectation.images)
                    self._live.expect(self._images_left)
                if tally.output_is_closed:
                    return

    @property
    def _images_left(self) -> int:
        return self._expectation.images - self._backlog.resumed - self._account.tally.images

    def _stop(self) -> None:
        """Has no more shards begun."""
        self._lease.stop()
        self._reporter.note("stopping: what is whole is being committed; interrupt again to end at once")

    def _is_hopeless(self, is_proven: bool) -> bool:
        """Whether shards that kill their processes say that every other one would: nothing has ever survived it, or
        nothing has between so many."""
        tally = self._account.tally
        return not (is_proven or tally.images_ok) or tally.crashes_in_a_row >= FATAL_CRASHES

    def _job(self, works: Sequence[Work], layout: Layout, is_proven: bool) -> PredictJob:
        from vision_batch.inference.job import PredictJob

        prepared, backlog = self._prepared, self._backlog
        return PredictJob(
            paths=prepared.paths,
            run_id=self._account.run_id,
            definition=prepared.definition.digest,
            input=prepared.input,
            format=prepared.input.format,
            preprocess=prepared.preprocess,
            function=prepared.function,
            model=prepared.model,
            task=prepared.task,
            max_pixels=prepared.settings.limits.max_pixels,
            precision=prepared.precision,
            cell_rows=backlog.cell_rows,
            batch_rows=layout.batch_rows,
            batch_trial=layout.batch_trial,
            compile=prepared.settings.compute.compile,
            gpu_share=layout.gpus_per_predictor or 1.0,
            extra_fields=extra_fields(prepared, backlog.state.parts, (work.shard for work in works)),
            proven=is_proven,
            row_limits=backlog.row_limits,
            old_parts=backlog.old_parts(works),
        )

    def _opening(self, works: Sequence[Work]) -> str:
        plan = self._backlog.plan
        count = f"{len(works):,} of {len(plan.shards):,} shards to do ({self._prepared.input.format})"
        ignored = f"; {plan.ignored:,} other files ignored" if plan.ignored else ""
        return "\n".join([count + ignored, *(f"warning: {warning}" for warning in plan.warnings)])

    def _because(self, trouble: str | None) -> str:
        reasons = [trouble] if trouble is not None else list(self._account.tally.troubles.values())
        return f" ({reasons[0]})" if reasons else ""

    def end(self, status: Status) -> RunSummary:
        """Looks once more where the run was cut short, records it, and sums it up."""
        if status == "interrupted":
            with suppress(StorageError):
                self._backlog.look()
        summary = self._account.close(status, self._backlog, self._placement.setting)
        if not self._is_tried:
            self._account.release()  # the next run tries a precision, unless this one came to parts after all
        return summary
