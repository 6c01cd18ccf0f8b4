"""What a run of a train job leaves behind: its record in the ledger, and the summary that says the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from vision_batch.errors import HeldError, LedgerError, StorageError
from vision_batch.jobs.prepare import reading_output
from vision_batch.jobs.prepare_train import PreparedTraining
from vision_batch.jobs.train_data import TrainData
from vision_batch.jobs.train_summary import TrainSummary
from vision_batch.jobs.train_tally import TrainTally
from vision_batch.ledger.definition import release_definition
from vision_batch.ledger.inspect import list_folder
from vision_batch.ledger.run_record import RunRecord, RunStatus, newest_runs, write_run
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, relative_to
from vision_batch.training.layout import TrainLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What trainings have come to: the validation `metrics` of the model, or of the folds' models their mean."""

    metrics: Mapping[str, float]
    epochs: int
    steps: int
    images: int
    best_checkpoint: str | None = None
    folds: tuple[dict[str, float], ...] = ()
    deviations: Mapping[str, float] = field(default_factory=dict)


class TrainAccount:
    """Counts one run and says in the end, to the user and in the ledger, how it went."""

    def __init__(self, prepared: PreparedTraining, started: float) -> None:
        """`started` is of time.monotonic()."""
        self._prepared = prepared
        self._started = started
        self._record = RunRecord.begun(
            definition=prepared.definition.digest, output=prepared.paths.output, spec=prepared.raw
        )
        self._is_recorded = False
        self._data: TrainData | None = None
        self.first_step: float | None = None
        self.tally = TrainTally(has_repeats=prepared.settings.train.sampling != "none")
        self.warnings: list[str] = []

    @property
    def run_id(self) -> str:
        return self._record.run_id

    @property
    def started(self) -> float:
        return self._started

    def open(self, prepared: PreparedTraining, data: TrainData) -> None:
        """Records that the run is at work. SpecError when the ledger cannot be written."""
        self._prepared, self._data = prepared, data
        self._record = replace(self._record, definition=prepared.definition.digest)
        with reading_output():
            write_run(prepared.paths, self._record)
        self._is_recorded = True

    def finished(self, result: Result) -> TrainSummary:
        """Of a run that found all done: the counts are those of the run that did it."""
        earlier = self._latest_counts()
        failed = int(earlier.get("images_failed", 0))
        return replace(
            self._summary("done", result, None),
            images_total=result.images,
            images_ok=result.images - failed,
            images_failed=failed,
            failures=dict(earlier.get("failures", {})),
            shards_total=int(earlier.get("shards_total", 0)),
            shards_done=int(earlier.get("shards_done", 0)),
        )

    def close(
        self, status: RunStatus, result: Result | None, layout: TrainLayout | None, error: str | None = None
    ) -> TrainSummary:
        """Leaves the record; failing to is worth a warning and changes nothing of what was done."""
        summary = self._summary(status, result, layout)
        if self._is_recorded:
            record = self._record.ended_now(status, seconds=summary.seconds, counts=summary.as_dict(), error=error)
            try:
                write_run(self._prepared.paths, record)
            except StorageError as trouble:
                self.warnings.append(f"the run's record could not be written: {trouble}")
        return replace(summary, warnings=tuple(self.warnings))

    def release(self) -> None:
        """Gives back an output that this run was the first to claim and stored no checkpoint in: its spec was wrong."""
        paths = self._prepared.paths
        if self._prepared.claimed is not None:
            return
        with suppress(StorageError, HeldError):
            folds = list_folder(join(paths.output, "folds"))
            stored = list_folder(join(paths.output, "checkpoints"))
            if stored or any("/checkpoints/" in relative_to(info.uri, paths.output) for info in folds):
                return
            for info in [*folds, *list_folder(paths.catalogue), *list_folder(paths.validation.output)]:
                storage_for(info.uri).delete(info.uri)
            release_definition(paths, self.run_id)

    def _latest_counts(self) -> Mapping[str, Any]:
        with suppress(StorageError, LedgerError):
            for record in newest_runs(self._prepared.paths):
                if record.status == "done":
                    return record.counts
        return {}

    def _summary(self, status: str, result: Result | None, layout: TrainLayout | None) -> TrainSummary:
        tally, data = self.tally, self._data
        total = None if data is None else data.images() + data.validation_images()
        failed = tally.broken
        rate = tally.images_per_second
        train = self._prepared.settings.train
        return TrainSummary(
            run_id=self.run_id,
            status=status,
            precision=self._prepared.precision,
            images_total=total,
            images_ok=max(0, (total or 0) - failed),
            images_failed=failed,
            images_resumed=tally.resumed,
            failures=dict(tally.failures),
            shards_total=0 if data is None else data.shards,
            shards_done=0 if data is None or not (result or tally.epoch) else data.shards,
            seconds=round(time.monotonic() - self._started, 3),
            first_batch_seconds=None if self.first_step is None else round(self.first_step - self._started, 3),
            images_per_second=None if rate is None else round(rate, 1),
            waited=None if tally.waited is None else round(tally.waited, 4),
            bottleneck=tally.bottleneck(is_split=layout is not None and layout.name == "split"),
            output=self._prepared.paths.output,
            metrics=dict(result.metrics) if result is not None else dict(tally.metrics),
            epochs=result.epochs if result is not None else tally.epoch,
            epochs_total=train.epochs,
            steps=result.steps if result is not None else tally.step,
            best_checkpoint=None if result is None else result.best_checkpoint,
            workers=tally.workers,
            cpus=0 if layout is None else tally.workers * layout.cpus_per_worker,
            gpus=0 if layout is None else tally.workers * layout.gpus_per_worker,
            loss=tally.loss,
            folds=() if result is None else result.folds,
            deviations={} if result is None else dict(result.deviations),
            warnings=tuple(self.warnings),
        )
