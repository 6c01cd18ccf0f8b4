"""One training, from its first step or its last checkpoint to its model, as the driver sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from vision_batch.errors import EngineError, Problem, SpecError, StorageError
from vision_batch.jobs.interrupt import ending_in_order
from vision_batch.jobs.prepare_train import PreparedTraining
from vision_batch.jobs.reporter import Reporter, Standing
from vision_batch.jobs.train_account import Result, TrainAccount
from vision_batch.jobs.train_data import TrainData
from vision_batch.jobs.train_session import TrainSession
from vision_batch.jobs.train_summary import validation_figures
from vision_batch.ledger.lease import Lease
from vision_batch.models.trained import read_model
from vision_batch.storage.uri import join, parent
from vision_batch.training.event import TrainEvent

if TYPE_CHECKING:
    from vision_batch.training.job import TrainJob
    from vision_batch.training.layout import TrainLayout
    from vision_batch.training.records import TrainRecords


def finished_model(prepared: PreparedTraining) -> Result | None:
    """What the training has come to, None while its model is not there. SpecError for a model of another definition."""
    output = prepared.paths.output
    model = read_model(output)
    if model is None:
        return None
    if prepared.claimed is not None and model.data.definition_sha256 != prepared.definition.digest:
        found = f"{output}, whose model.yaml is of another definition than its ledger"
        raise SpecError(Problem("output.uri", found, "another output.uri, or model.yaml as it was written"))
    return Result(
        metrics=model.metrics,
        epochs=model.training.epochs,
        steps=model.training.steps,
        images=model.data.images + model.data.validation_images,
        best_checkpoint=join(output, "checkpoints", f"{model.training.model_step:09d}"),
    )


class Training:
    """Runs the trainings of one run, of which there are several with folds, and tells what comes of them."""

    def __init__(
        self,
        trainings: Sequence[PreparedTraining],
        data: TrainData,
        session: TrainSession,
        reporter: Reporter,
        account: TrainAccount,
        lease: Lease,
    ) -> None:
        self._images = {each.fold: each.settings.train.epochs * data.images(each.fold) for each in trainings}
        self._data = data
        self._session = session
        self._reporter = reporter
        self._account = account
        self._lease = lease
        self._stopping = threading.Event()
        self._images_before = 0
        self._told: int | None = None
        self._records: TrainRecords | None = None

    def skip(self, prepared: PreparedTraining) -> None:
        """Counts a training as done, however early it ended."""
        self._images_before += self._images[prepared.fold]

    def train(self, prepared: PreparedTraining) -> Result:
        """Trains until the model is there. KeyboardInterrupt when the run is stopped, after its state was stored."""
        from vision_batch.training.execute import execute
        from vision_batch.training.records import TrainRecords
        from vision_batch.training.worker import train_on_worker

        layout = self._session.connected()
        metrics, run_id = prepared.data.metrics, self._account.run_id
        self._records = TrainRecords(parent(metrics(run_id)), run_id, self._account.started, fold=prepared.fold)
        self._account.tally.begin()
        self._reporter.wait("for the workers to start")
        try:
            with (
                ending_in_order(self._stop, lambda: (prepared.fold,)),
                closing(
                    execute(self._job(prepared, layout), layout, stop=self._stopping, body=train_on_worker)
                ) as events,
            ):
                for event in events:
                    self._lease.demand()
                    self._hear(event, prepared)
        finally:
            self._reporter.wait(None)
            self._record(None)
        result = finished_model(prepared)
        if result is None:
            raise EngineError("training ended without a model; run again to go on from the last checkpoint")
        self.skip(prepared)
        return result

    def _hear(self, event: TrainEvent, prepared: PreparedTraining) -> None:
        tally = self._account.tally
        broken = tally.broken
        tally.add(event)
        self._record(event)
        if event.kind == "step" and self._account.first_step is None:
            self._account.first_step = time.monotonic()
        if event.kind == "begin":
            self._reporter.wait(None)
            self._images[prepared.fold] = event.epochs * event.images_per_epoch  # with sampling not the images' number
            if self._told is not None:
                self._reporter.expect(sum(self._images.values()))
            self._reporter.note(f"{_of_fold(prepared)}{_beginning(event)}")
        if event.kind in ("begin", "step", "epoch"):
            self._advance(tally.images_done, tally.broken - broken)
            self._reporter.learn(_figures(event, prepared, tally.loss, tally.metrics))
        elif event.kind == "broken" and self._told is not None:
            self._reporter.advance(0, tally.broken - broken)
        if event.kind == "done":
            self._end(prepared)
        if event.kind == "epoch":
            self._reporter.note(f"{_of_fold(prepared)}{_epoch_line(event)}")
        elif event.kind == "note":
            self._reporter.note(event.message)

    def _end(self, prepared: PreparedTraining) -> None:
        """Tells that no more is learned, however early that is; after the last training nothing is told of progress."""
        self._advance(self._images[prepared.fold], 0)
        self._reporter.wait("for the model, which is exported and compared")
        if prepared.fold == list(self._images)[-1]:
            self._reporter.finish()
            self._reporter.note("training is over: the model is being written")

    def _advance(self, images: int, broken: int) -> None:
        """Tells of all that is done: `images` of this training, of all images `broken` more that cannot be used."""
        done = self._images_before + images
        if self._told is None:
            total = sum(self._images.values())
            shards = self._data.shards
            self._reporter.start(
                Standing(
                    images_total=total,
                    images_done=done,
                    images_failed=self._account.tally.broken,
                    shards_total=shards,
                    shards_done=shards,
                )
            )
        else:
            self._reporter.advance(done - self._told, broken)
        self._told = done

    def _record(self, event: TrainEvent | None) -> None:
        """Writes metrics; None writes what is left. A storage that does not take them costs them and nothing else."""
        if self._records is None:
            return
        try:
            if event is None:
                self._records.flush()
            else:
                self._records.add(event)
        except StorageError as error:
            self._records = None
            self._account.warnings.append(f"the metrics could not be written, and end here: {error}")

    def _stop(self) -> None:
        self._stopping.set()
        self._reporter.note("stopping: a checkpoint is being stored; interrupt again to end at once")

    def _job(self, prepared: PreparedTraining, layout: TrainLayout) -> TrainJob:
        from vision_batch.training.job import TrainJob

        settings, parts = prepared.settings, prepared.parts
        counts = self._data.class_images(prepared.fold)
        return TrainJob(
            paths=prepared.paths,
            run_id=self._account.run_id,
            definition=prepared.definition.digest,
            input=parts.input,
            validation=settings.validation,
            validation_input=prepared.validation_input,
            preprocess=parts.preprocess,
            augment=tuple(settings.augment),
            function=parts.function,
            model=parts.model,
            task=parts.task,
            labels=self._data.labels,
            class_images=counts if any(counts) else None,
            train=settings.train,
            max_pixels=settings.limits.max_pixels,
            precision=prepared.precision,
            compile=settings.compute.compile,
            fold=prepared.fold,
            dataset=None if prepared.fold is None else prepared.data,
        )


def _figures(
    event: TrainEvent, prepared: PreparedTraining, loss: float | None, metrics: Mapping[str, float]
) -> dict[str, float]:
    """How the training goes, as reporters are told."""
    return {
        "epoch": event.epoch + 1,
        "epochs": prepared.settings.train.epochs,
        **({} if prepared.fold is None else {"fold": prepared.fold}),
        **({} if loss is None else {"loss": loss}),
        **validation_figures(metrics),
    }


def _of_fold(prepared: PreparedTraining) -> str:
    return "" if prepared.fold is None else f"fold {prepared.fold}: "


def _beginning(event: TrainEvent) -> str:
    workers = f"{event.workers} worker{'s' if event.workers != 1 else ''}"
    if not event.step:
        return f"training on {event.images_per_epoch:,} images with {workers}"
    return f"going on after step {event.step:,}, in epoch {event.epoch + 1}, with {workers}"


def _epoch_line(event: TrainEvent) -> str:
    """`epoch 3: loss 0.31, accuracy 0.97 (best so far)`."""
    said = {**({} if event.loss is None else {"loss": event.loss}), **validation_figures(event.metrics)}
    best = " (best so far)" if event.is_best else ""
    return f"epoch {event.epoch + 1}: {', '.join(f'{name} {value:.4g}' for name, value in said.items())}{best}"
