"""Where the time of an actor goes, by stage."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by stage, added up over the threads that share it.

    read         encoded bytes are fetched
    decode       from encoded bytes to the stored picture's pixels, summed over the threads of the pool
    preprocess   from there to the model's pixels: plug-in function, orientation, resize and crop; likewise
    wait         the predicting thread has no decoded chunk
    copy         pixels become float32 on the model's device, and outputs come back; beside the model on an accelerator
    model        the model alone
    postprocess  outputs become columns
    write        parts are encoded and put
    """

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Adds the wall time of the block to `stage`, also when it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._seconds[stage] += seconds

    def take(self) -> dict[str, float]:
        """What has been added since the last call."""
        with self._lock:
            taken = dict(self._seconds)
            self._seconds.clear()
        return taken
