"""The actor between a training's workers and its driver: it has Ray Train run them, passes on what they tell, and holds
what is asked of them.

It lies on the driver's node, takes no CPU, and owns all else: when it ends, so do Ray Train's controller and the
workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import ray
from ray._private.state import state

from vision_batch.training.event import TrainEvent

if TYPE_CHECKING:
    from vision_batch.errors import VisionBatchError
    from vision_batch.training.context import Wish, WorkerContext
    from vision_batch.training.job import TrainJob
    from vision_batch.training.layout import TrainLayout

Body: TypeAlias = "Callable[[TrainJob, TrainLayout, WorkerContext], None]"
"""What every worker does."""

LOOK_S = 2.0
"""How often it is looked whether a worker's node is about to go; spot machines are told of that 30 s or more before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """So many workers of a layout, and what they do: they train, unless `body` is something else."""

    job: TrainJob
    layout: TrainLayout
    workers: int
    body: Body | None = None


class Monitor:
    """One group of workers, from its start to its end."""

    def __init__(self) -> None:
        self._told: list[TrainEvent] = []
        self._news = asyncio.Event()
        self._wish: Wish = "go"
        self._nodes: set[str] = set()

    async def train(self, group: Group) -> VisionBatchError | None:
        """Has Ray Train run the group until all its workers have ended; says what ended them before their time."""
        from vision_batch.training.group import run_group  # it imports Ray Train and torch, for seconds

        monitor: Any = ray.get_runtime_context().current_actor
        watch = asyncio.create_task(self._watch_nodes())
        try:
            return await asyncio.to_thread(run_group, group, monitor)
        finally:
            watch.cancel()

    async def exchange(self, node: str, told: list[TrainEvent]) -> Wish:
        """Takes what a worker on `node` tells, and says what is asked of it."""
        self._nodes.add(node)
        self._tell(told)
        return self._wish

    async def take(self, timeout_s: float) -> list[TrainEvent]:
        """What has been told since the last call, as soon as there is any; nothing after `timeout_s`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), timeout_s)
        self._news.clear()
        told, self._told = self._told, []
        return told

    async def stop(self) -> None:
        """Has the workers store their state and end."""
        self._wish = "stop"

    def _tell(self, told: list[TrainEvent]) -> None:
        if told:
            self._told += told
            self._news.set()

    async def _watch_nodes(self) -> None:
        """Ends the group in order when one of its nodes is about to go: it would lose all since its last checkpoint."""
        while True:
            leaving = self._nodes.intersection(await asyncio.to_thread(state.get_draining_nodes))
            if leaving:
                message = f"{len(leaving)} of {len(self._nodes)} nodes will soon be gone: the state is stored first"
                self._tell([TrainEvent(kind="note", message=message)])
                self._wish = "stop"
                return
            await asyncio.sleep(LOOK_S)
