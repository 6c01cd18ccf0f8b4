"""An actor's stage: in its own process, and for the first calls after a rebirth in a child process of its own.

Ray gives a dead actor's calls to its next life. One of them may have killed it, so they are done carefully; what comes
later is done at full speed again. A reborn actor sets up nothing that could kill it: its constructor is harmless.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from vision_batch.errors import ModelError, SpecError, StorageError
from vision_batch.inference.careful import Careful
from vision_batch.inference.stage import Run, Stage
from vision_batch.inference.stopwatch import Stopwatch

CAREFUL_CALLS = 8
"""How many calls of a reborn actor are careful. Ray keeps at most four in flight to one, and repeats them in any order,
among new ones; what is repeated later than that kills the actor once more, and is among the first the next time."""

BIRTH_FAILURES = (ModelError, SpecError, StorageError)
"""What an actor that cannot be set up tells by its first call: one that dies at its birth is only born again."""


class ActorStage:
    """Where an actor's concurrent calls find their stage: careful calls and others never work at the same time."""

    def __init__(self, make: Callable[[], Stage], *, reborn: bool, proven: bool) -> None:
        """`make`, which can be pickled, sets the stage up; `proven` says that images have been predicted before."""
        self._make = make
        self._careful = Careful(make, proven=proven)
        self._careful_calls: set[str] = set()
        self._calls_to_come = CAREFUL_CALLS if reborn else 0
        self._turns = threading.Condition()
        self._careful_waiting = self._careful_inside = self._inside = 0
        self._stage: Stage | None = None
        self._broken = ""
        if not reborn:
            self._set_up()

    @property
    def device(self) -> str:
        stage = self._stage
        return self._careful.device if stage is None else stage.device

    @contextmanager
    def entered(self, call: str) -> Iterator[Run]:
        """The stage's `run` for one part of Ray's call `call`. ModelError if it cannot be set up."""
        with self._carefully() if self._is_careful(call) else self._at_full_speed() as run:
            yield run

    def _is_careful(self, call: str) -> bool:
        with self._turns:
            if call not in self._careful_calls and self._calls_to_come:
                self._calls_to_come -= 1
                self._careful_calls.add(call)
            return call in self._careful_calls

    @contextmanager
    def _carefully(self) -> Iterator[Run]:
        with self._turns:
            self._careful_waiting += 1
            self._turns.wait_for(lambda: not self._inside)
            self._careful_waiting -= 1
            self._careful_inside += 1
            self._stage = None
        try:
            yield self._careful.run
        finally:
            self._leave(careful=True)

    @contextmanager
    def _at_full_speed(self) -> Iterator[Run]:
        with self._turns:
            self._turns.wait_for(lambda: not self._careful_inside and not self._careful_waiting)
            self._inside += 1
        try:
            with self._turns:
                if self._stage is None:
                    self._careful.close()
                    self._set_up()
            if self._stage is None:
                raise ModelError(self._broken)
            yield partial(_deadly, self._stage)
        finally:
            self._leave(careful=False)

    def _leave(self, *, careful: bool) -> None:
        with self._turns:
            if careful:
                self._careful_inside -= 1
            else:
                self._inside -= 1
            self._turns.notify_all()

    def _set_up(self) -> None:
        try:
            self._stage = self._make()
        except BIRTH_FAILURES as error:
            self._broken = str(error)


def _deadly(stage: Stage, chunks: Iterator[Any], watch: Stopwatch) -> Iterator[Any]:
    """The stage's own `run`. What cannot be survived ends the process: its next life finds the image to blame."""
    try:
        yield from stage.run(chunks, watch)
    except (MemoryError, SystemExit):
        os._exit(1)
