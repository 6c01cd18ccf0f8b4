"""Where the time of an actor goes, by stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Spent(NamedTuple):
    """Seconds of the clock, and seconds of a CPU, of one stage. Waiting takes the former only."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """What an actor has done since it was last asked.

    `wall_s` have passed, in which all threads of its process took `cpu_s` of the CPUs; `stages` sums over its threads.
    """

    wall_s: float
    cpu_s: float
    stages: Mapping[str, Spent] = field(default_factory=dict)

    def __add__(self, later: Lap) -> Lap:
        stages = dict(self.stages)
        for stage, spent in later.stages.items():
            before = stages.get(stage, Spent(0.0, 0.0))
            stages[stage] = Spent(before.wall_s + spent.wall_s, before.cpu_s + spent.cpu_s)
        return Lap(wall_s=self.wall_s + later.wall_s, cpu_s=self.cpu_s + later.cpu_s, stages=stages)

    @staticmethod
    def from_dict(facts: Mapping[str, Any]) -> Lap:
        """The lap that dataclasses.asdict and JSON made `facts` of."""
        return Lap(**{**facts, "stages": {stage: Spent(*spent) for stage, spent in facts["stages"].items()}})


NOTHING = Lap(wall_s=0.0, cpu_s=0.0)


class Stopwatch:
    """An actor's seconds by stage, added up over the threads that share it.

    read         encoded bytes are fetched
    decode       from encoded bytes to the stored picture's pixels, summed over the threads of the pool
    preprocess   from there to the model's pixels: plug-in function, orientation, resize and crop; likewise
    wait         a thread that predicts has no decoded chunk; in an actor that only predicts, there is no call
    copy         pixels become float32 on the model's device, and outputs come back; beside the model on an accelerator
    model        the model alone
    postprocess  outputs become columns
    write        parts are encoded and put, summed over the threads that do it
    hold         a thread that has a shard in work waits for its parts to be stored
    """

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._began = time.perf_counter(), time.process_time()
        self._calls = 0
        self._idle_since = self._began[0]

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Adds the time of the block to `stage`, also when it raises."""
        start, start_cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start, time.thread_time() - start_cpu)

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call of an actor: the time in which it has none is waiting."""
        with self._lock:
            if not self._calls:
                self._add("wait", time.perf_counter() - self._idle_since, 0.0)
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                self._idle_since = time.perf_counter()

    def add(self, stage: str, wall_s: float, cpu_s: float = 0.0) -> None:
        with self._lock:
            self._add(stage, wall_s, cpu_s)

    def take(self) -> Lap:
        """What has passed and been added since the last call."""
        with self._lock:
            now = time.perf_counter(), time.process_time()
            began, self._began = self._began, now
            stages, self._seconds = self._seconds, {}
        spent = {stage: Spent(*seconds) for stage, seconds in stages.items()}
        return Lap(wall_s=now[0] - began[0], cpu_s=now[1] - began[1], stages=spent)

    def _add(self, stage: str, wall_s: float, cpu_s: float) -> None:
        seconds = self._seconds.setdefault(stage, [0.0, 0.0])
        seconds[0] += wall_s
        seconds[1] += cpu_s
