"""What the first worker tells of the steps: not each by itself where they are quick, but none is left out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from vision_batch.training.context import WorkerContext
from vision_batch.training.event import TakenStep, TrainEvent
from vision_batch.training.progress import Progress
from vision_batch.training.step import StepResult

EVERY_S = 0.5


@dataclass(slots=True, kw_only=True)
class _Untold:
    """Steps since the last event; `loss_sum` is of their losses, each times its images, of which there are `images`."""

    taken: list[TakenStep] = field(default_factory=list)
    images: int = 0
    loss_sum: float = 0.0
    idle_s: float = 0.0


class StepTeller:
    """Collects steps, and tells of them about twice a second."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._began = time.monotonic()
        self._untold = _Untold()

    def start(self) -> None:
        """The time of steps begins here."""
        self._began = time.monotonic()

    def add(self, result: StepResult, progress: Progress, *, learning_rate: float | None, idle_s: float) -> None:
        """Counts a step in. `progress` is behind it."""
        untold = self._untold
        untold.taken.append(
            TakenStep(loss=result.loss, learning_rate=learning_rate, gradient_norm=result.gradient_norm)
        )
        if result.loss is not None:
            untold.images += result.images
            untold.loss_sum += result.loss * result.images
        untold.idle_s += idle_s
        if time.monotonic() - self._began >= EVERY_S:
            self.flush(progress)

    def flush(self, progress: Progress) -> None:
        """Tells what was not told yet, and counts its time."""
        untold, seconds = self._untold, time.monotonic() - self._began
        if not untold.taken:
            return
        event = TrainEvent(
            kind="step",
            step=progress.step,
            epoch=progress.epoch,
            position=progress.position,
            workers=self._context.workers,
            images=untold.images,
            seconds=seconds,
            waited=min(1.0, untold.idle_s / seconds) if seconds > 0 else 0.0,
            loss=untold.loss_sum / untold.images if untold.images else None,
            taken=tuple(untold.taken),
        )
        if self._context.rank == 0:
            self._context.tell(event)
        progress.seconds += seconds
        self._began += seconds
        self._untold = _Untold()
