"""A careful actor's side of its child processes: it starts them, watches their memory, and says how one has died."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from vision_batch.errors import CrashError
from vision_batch.inference.child import OUT_OF_MEMORY
from vision_batch.inference.memory import left_bytes, resident_bytes
from vision_batch.inference.message import pickled
from vision_batch.inference.stage import Stage
from vision_batch.inference.stopwatch import Stopwatch

LOOK_S = 0.05
"""How often the memory is looked at: what allocates as fast as it can takes some 100 MB in this time."""

GROWTH_BYTES = 256 << 20
"""What a child may always take for a chunk, however little the rest of the machine has left it."""


STARTS = 3
"""How many processes in a row may die of what no process dies of by itself, or while they are set up."""


FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP)
"""The signals that a process gets for what it does itself."""
NAMES = {number.value: number.name for number in signal.Signals}


class ChildDied(Exception):
    """The child process has ended without an answer; the text says how.

    `by_itself` if nothing else can have ended it so: neither a kill from outside nor a neighbour that took the memory.
    """

    def __init__(self, how: str, *, by_itself: bool) -> None:
        super().__init__(how)
        self.by_itself = by_itself


class ChildProcess:
    """One child, from its start to its end. One thread at a time."""

    def __init__(self, make: Callable[[], Stage], *, left: Callable[[], int | None] = left_bytes) -> None:
        """Starts it and waits until it has made its stage.

        ChildDied if it died of that; what `make` raised is raised here. `left` says how many bytes the machine has
        left: a child that has grown by more than that has taken half of what there was, and is killed.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: what happens to lie in the folder of a Ray worker is not imported
            command = [sys.executable, "-P", "-m", "vision_batch.inference.child", str(theirs.fileno())]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=environment
            )
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        self._left = left
        self._at_first: int | None = None  # what a model takes is not an image's fault
        self._taken = 0
        self._grew_too_much = False
        try:
            self.device: str = self._ask(make)
        except BaseException:
            self.close()
            raise
        self._at_first = resident_bytes(self.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def closed(self) -> bool:
        """Whether it can be asked no more, having died or been ended."""
        return self._connection.closed

    def __call__(self, chunk: Any, watch: Stopwatch) -> Any:
        """The chunk as the stage gives it. ChildDied if the child died of it; what the stage raised is raised here."""
        result, lap = self._ask(chunk)
        for stage, spent in lap.stages.items():
            watch.add(stage, *spent)
        return result

    def close(self) -> None:
        """Ends the child, whatever it does."""
        self._process.kill()  # one that has only closed its socket would be waited for without end
        self._process.wait()
        self._connection.close()

    def _ask(self, question: Any) -> Any:
        try:
            self._connection.send_bytes(pickled(question))
            while not self._connection.poll(LOOK_S):
                self._look()
            answer = pickle.loads(self._connection.recv_bytes())
        except BaseException as error:
            self.close()  # no later question may get the answer to this one
            if isinstance(error, EOFError | OSError):  # OSError: it died in the middle of its answer
                raise ChildDied(self._how(), by_itself=self._died_by_itself()) from None
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _look(self) -> None:
        """Kills a child that takes too much memory; ends the waiting for one whose socket a child of its own holds."""
        if self._process.poll() is not None:
            raise EOFError
        if self._at_first is None:
            return
        grown = resident_bytes(self.pid) - self._at_first
        if grown > GROWTH_BYTES and (left := self._left()) is not None and grown > left:
            self._grew_too_much, self._taken = True, grown
            self._process.kill()

    def _how(self) -> str:
        code = self._process.returncode
        if self._grew_too_much:
            return f"it ran out of memory, having taken {self._taken / (1 << 30):.1f} GiB, and was ended"
        if code == OUT_OF_MEMORY:
            return "it ran out of memory"
        if code < 0:
            return f"it was killed by signal {-code} ({NAMES.get(-code, 'of real time')})"
        return f"it ended with exit code {code}"

    def _died_by_itself(self) -> bool:
        code = self._process.returncode
        return -code in FAULTS or (code > 0 and code != OUT_OF_MEMORY)


class Children:
    """A child process, and when it has died the next one. One thread at a time."""

    def __init__(self, make: Callable[[], Stage]) -> None:
        """`make`, which can be pickled, sets the stage up in each of them, when there is something to ask."""
        self._make = make
        self._child: ChildProcess | None = None

    @property
    def device(self) -> str:
        child = self._child
        return "cpu" if child is None or child.closed else child.device

    def ask(self, question: Any, watch: Stopwatch) -> Any:
        """The stage's answer. ChildDied if the child died of it, CrashError if none can be set up."""
        return self._started()(question, watch)

    def insist(self, question: Any, watch: Stopwatch) -> Any:
        """As `ask`, but ChildDied only when STARTS children, one after the other, have died of it."""
        for _ in range(STARTS - 1):
            with suppress(ChildDied):
                return self.ask(question, watch)
        return self.ask(question, watch)

    def close(self) -> None:
        """Ends the child and gives back what it holds."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _started(self) -> ChildProcess:
        for _ in range(STARTS):
            if self._child is not None and not self._child.closed:
                return self._child
            try:
                self._child = ChildProcess(self._make)
            except ChildDied as died:
                how = str(died)
        raise CrashError(f"the code that is set up before the first image killed its process {STARTS} times: {how}")
