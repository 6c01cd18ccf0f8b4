"""Says something again and again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


class Ticker:
    """Has a thread write what `say` returns as a line on standard error, every so many seconds until `stop`."""

    def __init__(self, every_s: float, say: Callable[[], str]) -> None:
        self._every_s = every_s
        self._say = say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._stop.wait(self._every_s):
            write_line(self._say())


def write_line(text: str) -> None:
    """In one piece, so that no other thread's line falls into it."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
