"""A training on the Ray that this process is connected to: groups of workers, one after the other, until it is done.

A group ends when training is done, when a worker fails, or in order, with its state stored: because the run is stopped,
because a node is about to go, or because there is room for more workers. Each group goes on from the last checkpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vision_batch.errors import CrashError, DeviceError, EngineError, VisionBatchError
from vision_batch.training.event import TrainEvent
from vision_batch.training.monitor import Body, Group, Monitor
from vision_batch.training.room import Growth, Room

if TYPE_CHECKING:
    from vision_batch.training.job import TrainJob
    from vision_batch.training.layout import TrainLayout

POLL_S = 0.5
GROW_AFTER_S = 60.0
"""A group works for so long before it makes way for a larger one: to begin anew costs 10 s, and nodes seldom come
alone."""
STILL_GROUPS = 3
"""A training ends when so many groups in a row have failed without a new checkpoint."""
RETRIED = (EngineError, DeviceError, CrashError)
"""What another group may not fail of."""
WAIT_UNTOLD_S = 3.0
"""Nobody is told of a shorter wait for room: what a group had that has just ended takes a moment to be free."""


def execute(
    job: TrainJob,
    layout: TrainLayout,
    *,
    stop: threading.Event,
    body: Body | None = None,
    grow_after_s: float = GROW_AFTER_S,
) -> Generator[TrainEvent, None, None]:
    """Trains, and yields events as they come, until training is done or `stop` is set.

    `stop`, which any thread may set, has the state stored and the workers end. Closed before, it ends them at once.
    Steps that were lost with a group come again. EngineError when groups fail again and again without a new checkpoint;
    what else of ours a worker raises is raised here. `body` is what workers do, unless they train.
    """
    furthest: int | None = None
    still = 0
    while not stop.is_set():
        workers = yield from _await_room(layout, stop)
        if not workers:
            return
        group = Group(job=job, layout=layout, workers=workers, body=body)
        run = _GroupRun(group, stop, grow_after_s)
        before = furthest
        with closing(run.events()) as events:
            for event in events:
                if event.kind == "begin" and furthest is None:
                    before = furthest = event.step
                if event.kind in ("begin", "checkpoint"):
                    furthest = max(furthest or 0, event.step)
                yield event
        if run.error is None and run.is_done:
            return
        if run.error is None:
            still = 0
            if not stop.is_set():
                yield TrainEvent(kind="note", message="going on from there, with the workers that there is room for")
            continue
        if not isinstance(run.error, RETRIED):
            raise run.error
        still = still + 1 if furthest == before else 0
        if still >= STILL_GROUPS:
            raise EngineError(f"{still} groups of workers failed without a new checkpoint, the last one: {run.error}")
        yield TrainEvent(kind="note", message=f"workers failed ({run.error}); going on from the last checkpoint")


def _await_room(layout: TrainLayout, stop: threading.Event) -> Generator[TrainEvent, None, int]:
    """Waits for room for the fewest workers, and tells of it once; how many there is room for, 0 when stopped."""
    room, began_at, has_told = Room(layout), time.monotonic(), False
    for _ in room:
        if stop.is_set():
            return 0
        if not has_told and time.monotonic() >= began_at + WAIT_UNTOLD_S:
            has_told = True
            message = f"waiting for room for {layout.workers[0]} workers, {layout.place} each"
            yield TrainEvent(kind="note", message=message)
    return room.workers


class _GroupRun:
    """One group; when its `events` have ended, `error` is what it failed of, and `is_done` whether training is.

    It may have failed of writing the model when training was done.
    """

    def __init__(self, group: Group, stop: threading.Event, grow_after_s: float) -> None:
        self._group = group
        self._stop = stop
        self._grow_after_s = grow_after_s
        self._began_at: float | None = None
        self._growth: Growth | None = None
        self._is_ending = False
        self.is_done = False
        self.error: VisionBatchError | None = None

    def events(self) -> Generator[TrainEvent, None, None]:
        node = ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        monitor: Any = ray.remote(Monitor).options(num_cpus=0, scheduling_strategy=here).remote()
        try:
            yield from self._heard(monitor)
        except ray.exceptions.RayError as error:
            self.error = EngineError(f"the training's monitor failed: {' '.join(str(error).split())[:300]}")
        finally:
            if self._growth is not None:
                self._growth.close()
            ray.kill(monitor)

    def _heard(self, monitor: Any) -> Generator[TrainEvent, None, None]:
        outcome = monitor.train.remote(self._group)
        is_over = False
        while not is_over:
            is_over = bool(ray.wait([outcome], timeout=0)[0])  # before the last events are taken, not after
            for event in ray.get(monitor.take.remote(0 if is_over else POLL_S)):
                self._note(event)
                yield event
            if self._stop.is_set() and self._began_at is None:
                return  # nothing has been learned that could be stored
            if self._should_end():
                self._is_ending = True
                ray.get(monitor.stop.remote())
                if not self._stop.is_set():
                    yield TrainEvent(kind="note", message="there is room for more workers: the state is stored first")
        self.error = ray.get(outcome)

    def _note(self, event: TrainEvent) -> None:
        if event.kind == "begin":
            self._began_at = time.monotonic()
            self._growth = Growth(self._group.layout, self._group.workers)
        self.is_done = self.is_done or event.kind == "done"

    def _should_end(self) -> bool:
        if self._is_ending or self._began_at is None or self._growth is None:
            return False
        if self._stop.is_set():
            return True
        return time.monotonic() >= self._began_at + self._grow_after_s and self._growth.has_room
