"""The training loop: epochs of steps, validated, stored and told of. Every worker runs it, in step with the others.

Whatever is random has a seed that follows from the spec and the step, and what comes next depends on what came before
only through what a checkpoint holds. So a training that is resumed, after whichever step, ends with the weights of one
that was left alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import cast

from torch import nn

from vision_batch.errors import ModelError
from vision_batch.tasks.task import TrainableTask
from vision_batch.training.batch import Batch, Ingest
from vision_batch.training.checkpoint import CheckpointStore
from vision_batch.training.context import WorkerContext
from vision_batch.training.event import Kind, TrainEvent
from vision_batch.training.feed import Feed, StepInput
from vision_batch.training.forward import Forward
from vision_batch.training.imbalance import class_weights
from vision_batch.training.job import TrainJob
from vision_batch.training.losses import Loss, loss_for
from vision_batch.training.mixing import Mixer
from vision_batch.training.mode import has_synchronised_norm, set_training
from vision_batch.training.own_loss import OwnLoss
from vision_batch.training.parallel import parallel
from vision_batch.training.progress import Counts, Progress, is_over
from vision_batch.training.schedule import build_schedule, move_schedule
from vision_batch.training.settings import LossName
from vision_batch.training.setup import build_learner, kernels
from vision_batch.training.state import restore, save
from vision_batch.training.step import Stepper, StepResult
from vision_batch.training.telling import StepTeller
from vision_batch.training.together import Together
from vision_batch.training.upload import IdleClock, Upload
from vision_batch.training.validate import Validation, validate


def train(
    job: TrainJob,
    *,
    module: nn.Module,
    task: TrainableTask,
    ingest: Ingest,
    validation: Ingest | None,
    store: CheckpointStore,
    context: WorkerContext,
) -> bool:
    """Trains `module`, which it takes over, until all epochs are over, from the newest checkpoint if there is one.

    All workers call it, with modules of the same shape. It returns whether the training is finished; if not it was
    asked to stop, and its state is stored. ModelError when the model does not fit its task, its loss is no number
    (`on_nan: stop`) or the device has too little memory; DeviceError; StorageError when images cannot be read or the
    state not be stored; LedgerError when an epoch's images are not those of its plan; SpecError for settings that do
    not go together on this device.
    """
    with kernels(context.device, deterministic=job.train.deterministic):
        return _Training(job, module, task, ingest, validation, store, context).run()


class _Training:
    """One worker's side of a training."""

    def __init__(
        self,
        job: TrainJob,
        module: nn.Module,
        task: TrainableTask,
        ingest: Ingest,
        validation: Ingest | None,
        store: CheckpointStore,
        context: WorkerContext,
    ) -> None:
        settings = job.train
        self._job, self._settings, self._task = job, settings, task
        self._ingest, self._store, self._context = ingest, store, context
        self._together = Together(context)
        self._learner = build_learner(job, module, self._together)
        step_images = context.workers * settings.batch_size * settings.accumulate
        self._steps_per_epoch, self._step_images = math.ceil(ingest.images / step_images), step_images
        self._schedule = build_schedule(
            self._learner.optimizer, settings.schedule, self._steps_per_epoch, settings.epochs
        )
        self._learner.optimizer.step()  # no gradients, no effect; else torch warns when a first step is left out
        restored = restore(store, self._learner, self._together)
        self._progress = restored or Progress()
        self._build_step(validation)
        self._clock = IdleClock(context.device)
        self._teller = StepTeller(context)
        self._saved_at = time.monotonic()
        self._learning_rate: float | None = None

    def _build_step(self, validation: Ingest | None) -> None:
        job, settings, device = self._job, self._settings, self._context.device
        task_loss = self._task_loss()
        loss = OwnLoss(self._learner.module) if task_loss is None else task_loss
        forward = Forward(self._task, job.precision, device)
        size_px = job.preprocess.output_px
        assert size_px is not None
        self._feed = Feed(
            Upload(device, job.preprocess.mean, job.preprocess.std),
            loss,
            Mixer(settings, len(job.labels)),
            classes=len(job.labels),
            size_px=size_px,
            accumulate=settings.accumulate,
            is_empty_passed=has_synchronised_norm(self._learner.module),
        )
        self._stepper = Stepper(
            parallel(self._learner.module, self._together, compiled=job.compile),
            self._learner.optimizer,
            loss,
            forward,
            self._together,
            settings,
            scaler=self._learner.scaler,
            ema=self._learner.ema,
        )
        self._validation = None
        if validation is not None:
            self._validation = Validation(
                ingest=validation,
                task=self._task,
                loss=task_loss,
                forward=forward,
                feed=self._feed,
                batch_images=settings.batch_size,
            )

    def _task_loss(self) -> Loss | None:
        """The one that the spec or the task names; None where the module brings its own."""
        job, default = self._job, self._task.default_loss
        if default is None:
            return None
        is_exclusive = job.task.labels_are != "several"
        weights = class_weights(
            job.train.class_weights, job.class_images, job.labels, images=None if is_exclusive else self._ingest.images
        )
        return loss_for(job.train, cast(LossName, default), weights, exclusive=is_exclusive)

    def run(self) -> bool:
        begin = self._event("begin", message=f"on {self._context.device}, in {self._job.precision}")
        self._tell_event(replace(begin, history=tuple(self._progress.history)))
        while not self._is_over():
            if not (self._learn_epoch() and self._end_epoch()):
                return False
        if len(self._progress.history) < self._settings.epochs:
            text = (
                f"{self._task.headline} did not get better any more: training ends after epoch {self._progress.epoch}"
            )
            self._tell("note", message=text)
        self._tell("done")
        return True

    def _is_over(self) -> bool:
        settings = self._settings
        return is_over(self._progress.history, settings.epochs, settings.early_stopping, self._task.headline)

    def _learn_epoch(self) -> bool:
        """Takes the steps that the epoch has left. False when asked to stop."""
        progress, together = self._progress, self._together
        if progress.position >= self._ingest.images:
            return True
        set_training(self._learner.module)
        move_schedule(self._schedule, progress.epoch * self._steps_per_epoch + progress.position // self._step_images)
        batches = self._ingest.batches(
            epoch=progress.epoch,
            start=progress.position,
            rank=together.rank,
            workers=together.workers,
            batch_images=self._settings.batch_size,
        )
        with closing(cast("Generator[Batch, None, None]", batches)):
            inputs = self._feed.steps(batches, first=progress.step, seed=self._settings.seed, rank=together.rank)
            return self._take_steps(inputs)

    def _take_steps(self, inputs: Iterator[StepInput]) -> bool:
        self._teller.start()
        self._clock.busy()
        following = next(inputs, None)
        self._clock.fed()
        idle_s = self._clock.idle_s()
        while (input := following) is not None:
            begun = self._stepper.begin(input)
            self._clock.busy()
            following = next(inputs, None)  # while the device computes
            self._clock.fed()
            result = self._stepper.end(begun, self._asked())
            self._count(input, result, idle_s + self._clock.idle_s())
            idle_s = 0.0
            if not self._heed(result.asked):
                return False
        self._teller.flush(self._progress)
        return True

    def _count(self, input: StepInput, result: StepResult, idle_s: float) -> None:
        """Moves on by a step, whether it was left out or not."""
        progress = self._progress
        self._learning_rate = float(self._schedule.get_last_lr()[0])
        progress.step += 1
        progress.position = input.stop
        progress.counts.add(input.batches)
        if result.loss is not None:
            progress.loss_sum += result.loss * result.images
            progress.loss_images += result.images
        self._schedule.step()
        for batch in input.batches:
            self._tell_broken(batch)
        if result.trouble:
            self._complain(result)
        self._teller.add(result, progress, learning_rate=self._learning_rate, idle_s=idle_s)

    def _complain(self, result: StepResult) -> None:
        where = f"step {self._progress.step}, in epoch {self._progress.epoch + 1}: {result.trouble}"
        if self._settings.on_nan == "stop":
            advice = "a smaller train.optimizer.lr, train.clip_norm or compute.precision: fp32 may help"
            raise ModelError(f"{where}; {advice}, and train.on_nan: skip leaves such steps out")
        self._progress.strange += 1
        self._tell("note", message=f"{where}; this step is left out")

    def _asked(self) -> list[float]:
        """What this worker wants of all: that the state is stored, and that training ends."""
        wish, every_s = self._context.wish(), self._settings.checkpoint.every_s
        is_due = every_s is not None and self._together.rank == 0 and time.monotonic() - self._saved_at >= every_s
        return [float(is_due or wish == "checkpoint"), float(wish == "stop")]

    def _heed(self, asked: Sequence[float]) -> bool:
        """Does what was asked for at the end of a step. False to stop."""
        wants_checkpoint, wants_stop = (count > 0 for count in asked)
        every_steps = self._settings.checkpoint.every_steps
        if wants_checkpoint or wants_stop or (every_steps is not None and self._progress.step % every_steps == 0):
            self._save(score=None)
        return not wants_stop

    def _end_epoch(self) -> bool:
        """Accounts for the epoch, validates and stores. False when asked to stop on the way."""
        progress, settings = self._progress, self._settings
        counts = progress.counts.of_all(self._together)
        counts.demand(self._ingest, epoch=progress.epoch)
        if not progress.loss_images:
            raise ModelError(self._why_nothing(counts))
        metrics = self._validate() if self._is_validation_due() else {}
        if metrics is None:
            return False
        score = metrics.get(self._task.headline)
        former = [event.metrics[self._task.headline] for event in progress.history if event.is_best]
        event = TrainEvent(
            kind="epoch",
            step=progress.step,
            epoch=progress.epoch,
            epochs=settings.epochs,
            images_per_epoch=self._ingest.images,
            workers=self._together.workers,
            images=counts.images,
            broken=counts.broken,
            seconds=progress.seconds,
            loss=progress.loss,
            learning_rate=self._learning_rate,
            metrics=metrics,
            is_best=score is not None and all(score > value for value in former),
        )
        self._tell_event(event)
        progress.next_epoch(event)
        self._save(score=score)
        return True

    def _why_nothing(self, counts: Counts) -> str:
        """Why an epoch, with the `counts` of all workers, had no step that was taken. All workers ask."""
        progress = self._progress
        reasons = progress.counts.reasons(self._together)
        broken = f"of its {self._ingest.images:,} images {counts.broken:,} are broken"
        why = [f"{broken} ({reasons})" if reasons else broken]
        if progress.strange:
            steps = "1 step" if progress.strange == 1 else f"{progress.strange:,} steps"
            why.append(f"the loss of {steps} was no number (train.on_nan: skip)")
        return f"epoch {progress.epoch + 1} taught nothing: every step was left out; {', and '.join(why)}"

    def _is_validation_due(self) -> bool:
        done, settings = self._progress.epoch + 1, self._job.validation
        every = 1 if settings is None else settings.every_epochs
        return self._validation is not None and (done % every == 0 or done == self._settings.epochs)

    def _validate(self) -> dict[str, float] | None:
        """The metrics, of the averaged module if there is one; None when asked to stop."""
        assert self._validation is not None
        ema = self._learner.ema
        module = self._learner.module if ema is None else ema.module

        def is_stopped(batch: Batch) -> bool:
            self._tell_broken(batch)
            wants_checkpoint, wants_stop = (count > 0 for count in self._together.sums(self._asked()))
            if wants_checkpoint or wants_stop:
                self._save(score=None)
            return wants_stop

        return validate(module, self._validation, self._together, is_stopped=is_stopped)

    def _save(self, *, score: float | None) -> None:
        self._teller.flush(self._progress)
        checkpoint = save(self._store, self._learner, self._progress, self._together, score=score)
        self._saved_at = time.monotonic()
        self._tell("checkpoint", uri="" if checkpoint is None else checkpoint.uri)

    def _tell_broken(self, batch: Batch) -> None:
        if batch.broken:
            progress = self._progress
            self._context.tell(
                TrainEvent(kind="broken", step=progress.step, epoch=progress.epoch, images_broken=batch.broken)
            )

    def _tell(self, kind: Kind, *, message: str = "", uri: str = "") -> None:
        self._tell_event(self._event(kind, message=message, uri=uri))

    def _event(self, kind: Kind, *, message: str = "", uri: str = "") -> TrainEvent:
        progress = self._progress
        return TrainEvent(
            kind=kind,
            step=progress.step,
            epoch=progress.epoch,
            epochs=self._settings.epochs,
            position=progress.position,
            images_per_epoch=self._ingest.images,
            workers=self._together.workers,
            message=message,
            uri=uri,
        )

    def _tell_event(self, event: TrainEvent) -> None:
        if self._together.rank == 0:
            self._context.tell(event)
