"""What the first worker tells of the steps: not each by itself where they are quick, but none is left out."""

from __future__ import annotations

import time

from vision_batch.training.context import WorkerContext
from vision_batch.training.event import TrainEvent
from vision_batch.training.progress import Progress
from vision_batch.training.step import StepResult

EVERY_S = 0.5


class StepTeller:
    """Collects steps, and tells of them about twice a second."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._began = time.monotonic()
        self._forget()

    def start(self) -> None:
        """The time of steps begins here."""
        self._began = time.monotonic()

    def add(self, result: StepResult, progress: Progress, *, learning_rate: float | None, idle_s: float) -> None:
        self._losses.append(result.loss)
        self._images += result.images if result.loss is not None else 0
        self._sum += (result.loss or 0.0) * result.images
        self._idle_s += idle_s
        self._last = (learning_rate, result.gradient_norm)
        if time.monotonic() - self._began >= EVERY_S:
            self.flush(progress)

    def flush(self, progress: Progress) -> None:
        """Tells what was not told yet."""
        if not self._losses:
            return
        seconds = time.monotonic() - self._began
        progress.seconds += seconds
        event = TrainEvent(
            kind="step",
            step=progress.step,
            epoch=progress.epoch,
            position=progress.position,
            workers=self._context.workers,
            images=self._images,
            seconds=seconds,
            waited=min(1.0, self._idle_s / seconds) if seconds > 0 else 0.0,
            loss=self._sum / self._images if self._images else None,
            losses=tuple(self._losses),
            learning_rate=self._last[0],
            gradient_norm=self._last[1],
        )
        if self._context.rank == 0:
            self._context.tell(event)
        self._began += seconds
        self._forget()

    def _forget(self) -> None:
        self._losses: list[float | None] = []
        self._images = 0
        self._sum = self._idle_s = 0.0
        self._last: tuple[float | None, float] = (None, 0.0)
