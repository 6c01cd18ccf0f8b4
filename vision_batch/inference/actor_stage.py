"""An actor's stage: in its own process, and for the first calls after a rebirth in a child process of its own.

Ray gives a dead actor's calls to its next life. One of them may have killed it, so they are done carefully; what comes
later is done at full speed. A reborn actor sets up nothing that could kill it: its constructor is harmless, and until
its careful calls are over there is no stage but the child's, which has memory and device to itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vision_batch.errors import ModelError, SpecError, StorageError
from vision_batch.inference.careful import Careful
from vision_batch.inference.stage import Run, Stage
from vision_batch.inference.stopwatch import Stopwatch

CAREFUL_CALLS = 8
"""How many calls of a reborn actor are careful. Ray keeps at most four in flight to one, and repeats them in any order,
among new ones; what is repeated later than that kills the actor once more, and is among the first the next time."""

REPEATS = 10
"""How often Ray repeats a call whose actor died. A shard or an image that kills costs its actor one life, the next one
being careful; what kills an actor otherwise must not do so for ever."""
RESTARTED: dict[str, Any] = {"max_restarts": -1, "max_task_retries": REPEATS}

BIRTH_FAILURES = (ModelError, SpecError, StorageError)
"""What an actor that cannot be set up tells by its first call: one that dies at its birth is only born again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How one of Ray's calls works: it may `run` the stage; a `careful` one does nothing itself that may kill it."""

    careful: bool
    run: Run


class ActorStage:
    """Where an actor's concurrent calls find their stage: careful calls come first and are alone."""

    def __init__(self, make: Callable[[], Stage], *, reborn: bool, proven: bool) -> None:
        """`make`, which can be pickled, sets the stage up; `proven` says that images have been predicted before."""
        self._make = make
        self._careful = Careful(make, proven=proven)
        self._careful_calls_to_come = CAREFUL_CALLS if reborn else 0
        self._turns = threading.Lock()
        self._stage: Stage | None = None
        self._broken = ""
        if not reborn:
            self._set_up()

    @property
    def device(self) -> str:
        stage = self._stage
        return self._careful.device if stage is None else stage.device

    @contextmanager
    def entered(self) -> Iterator[Turn]:
        """The turn of one whole call. Its `run` raises ModelError if the stage cannot be set up."""
        with self._turns:
            if self._careful_calls_to_come:
                self._careful_calls_to_come -= 1
                yield Turn(careful=True, run=self._careful.run)
                return
            if self._stage is None:
                self._careful.close()
                self._set_up()
        yield Turn(careful=False, run=self._run)

    def _set_up(self) -> None:
        try:
            self._stage = self._make()
        except BIRTH_FAILURES as error:
            self._broken = str(error)

    def _run(self, chunks: Iterator[Any], watch: Stopwatch) -> Iterator[Any]:
        """The stage's own `run`. What cannot be survived ends the process: its next life finds the image to blame."""
        if self._stage is None:
            raise ModelError(self._broken)
        try:
            yield from self._stage.run(chunks, watch)
        except (MemoryError, SystemExit):
            os._exit(1)
