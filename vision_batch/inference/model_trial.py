"""Whether it is the model that is broken, or the images: judged from a run's first batches."""

from __future__ import annotations

import threading

from vision_batch.errors import ModelError
from vision_batch.inference.chunk import PredictedChunk

FATAL_BATCHES = 3
"""When every image of this many first batches fails, it is the model that is broken, not the images."""


class ModelTrial:
    """What one actor knows of its model; concurrent calls share it.

    `suspect` is true while every image so far has failed: what was computed should not be committed yet. `proven` says
    that the model has worked, so that what fails now is the images' fault.
    """

    def __init__(self, *, proven: bool = False) -> None:
        self.proven = proven
        self._lock = threading.Lock()
        self._failed_batches = 0
        self._reported_batches = 0
        self._last_failure = ""

    @property
    def suspect(self) -> bool:
        return not self.proven and self._failed_batches > 0

    def judge(self, chunk: PredictedChunk) -> None:
        """Learns from one batch. ModelError when too many first ones have failed wholly."""
        with self._lock:
            if chunk.asked > chunk.failed:
                self.proven = True
            elif chunk.asked and not self.proven:
                self._failed_batches += 1
                self._last_failure = chunk.failure
                if self._failed_batches >= FATAL_BATCHES:
                    raise broken_model(self._last_failure)

    def take_failed_batches(self) -> tuple[int, str]:
        """How many batches failed wholly since the last call of this, and the last reason."""
        with self._lock:
            count = self._failed_batches - self._reported_batches
            self._reported_batches = self._failed_batches
            return count, self._last_failure


def broken_model(last_failure: str) -> ModelError:
    """What to say when every image of the first batches has failed."""
    return ModelError(
        f"the model failed on every image of the first {FATAL_BATCHES} batches, so it is the model and not the images; "
        f"the last error was: {last_failure}"
    )
