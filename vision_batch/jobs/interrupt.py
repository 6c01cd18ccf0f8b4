"""Ending a pass in order: the first SIGINT or SIGTERM lets what is whole be committed, the next SIGINT ends it at once.

SIGTERM comes from whoever looks after the process, and there may be two of them: it hastens nothing. It need not, for
the end takes 20 s at most.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType

SETTLE_S = 2.0
"""After a signal, the time in which the last news of cells that are whole arrive."""
LONGEST_S = 15.0
"""How long their parts may take after the signal: with the end of the actors this keeps within 20 s."""
POLL_S = 0.1


@contextmanager
def ending_in_order(
    stop: Callable[[], None],
    writing: Callable[[], Collection[object]],
    *,
    settle_s: float = SETTLE_S,
    longest_s: float = LONGEST_S,
) -> Iterator[None]:
    """Turns a signal that comes in the block into a KeyboardInterrupt that is raised when what is whole is committed.

    `stop` is called by another thread soon after the first signal; `writing` says what is whole and not committed yet.
    SIGINT after another signal raises at once. SIGTERM is not heard again, also not after the block: it would fall into
    what the caller has to put in order. Only those of SIGINT and SIGTERM that have a handler in Python are
    taken, and in the main thread only: no other can handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupt = _Interrupt(stop, writing, settle_s, longest_s)
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(number))]
    previous = {number: signal.signal(number, interrupt.handle) for number in numbers}
    # Ray blocks SIGINT in its processes, and the driver of a submitted job is a child of one.
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    hook, sys.unraisablehook = sys.unraisablehook, interrupt.hear_unraisable
    interrupt.watcher.start()
    try:
        yield
    finally:
        try:
            interrupt.end()
        finally:
            sys.unraisablehook = hook
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for number, handler in previous.items():
                is_over = interrupt.asked and number == signal.SIGTERM
                signal.signal(number, signal.SIG_IGN if is_over else handler)
        if interrupt.asked:
            raise KeyboardInterrupt


class _Interrupt:
    """`handle` runs in the main thread, amid whatever that does: so it takes no lock and prints nothing."""

    def __init__(
        self, stop: Callable[[], None], writing: Callable[[], Collection[object]], settle_s: float, longest_s: float
    ) -> None:
        self._stop = stop
        self._writing = writing
        self._settle_s = settle_s
        self._longest_s = longest_s
        self._is_over = threading.Event()
        self._is_due = False
        self._unraisable = sys.unraisablehook
        self.asked = False
        self.watcher = threading.Thread(target=self._watch, name="interrupt", daemon=True)

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT and not self._is_over.is_set():
            raise KeyboardInterrupt
        self.asked = True

    def hear_unraisable(self, report: sys.UnraisableHookArgs) -> None:
        """An interrupt that fell into a callback of the garbage collector, say, is lost there: it is due again."""
        if report.exc_type is KeyboardInterrupt:
            self._is_due = True
        else:
            self._unraisable(report)

    def end(self) -> None:
        self._is_over.set()
        self.watcher.join()

    def _watch(self) -> None:
        while not self.asked:
            if self._is_over.wait(POLL_S):
                return
        deadline = time.monotonic() + self._longest_s
        self._stop()
        if self._is_over.wait(self._settle_s):
            return
        whole = frozenset(self._writing())
        while not self._is_over.wait(POLL_S):
            if time.monotonic() >= deadline or not whole.intersection(self._writing()):
                self._is_due = True
                break
        while not self._is_over.wait(POLL_S):
            if self._is_due:
                self._is_due = False
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
