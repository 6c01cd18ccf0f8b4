"""The joined layout on Ray's own actors: works are dealt out to them, and their events come back.

No image moves between processes, so that Ray Data would have nothing to stream. Measured on 2 cores, it costs 3.3 of
the 12 CPU-seconds before the first prediction: three actors of its own, and an import of 0.4 s in every process.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]  # made at run time

from vision_batch.errors import EngineError
from vision_batch.inference.actor_stage import RESTARTED
from vision_batch.inference.blocks import runs
from vision_batch.inference.joined import JoinedActor
from vision_batch.inference.layout import CONCURRENT_CALLS, room
from vision_batch.inference.room import LOOK_S, cluster_resources

if TYPE_CHECKING:
    from vision_batch.inference.event import Event
    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work

EVENTS_AHEAD = 64
"""How many events of one call may wait for the driver before its actor waits too: small shards give hundreds a second,
and the driver may be busy with another actor's."""
STREAMING: dict[str, Any] = {"num_returns": "streaming", "_generator_backpressure_num_objects": EVENTS_AHEAD}

STILL_S = 1800.0
"""A pass of which nothing has been heard for so long is given up."""
AWAY_S = 60.0
"""An actor that Ray has not started anew for so long finds no room, and others do its works. A rebirth takes seconds:
no model is loaded in it."""


def joined_events(job: PredictJob, layout: Layout, works: Sequence[Work]) -> Generator[Event, None, None]:
    """Deals `works` out to the layout's predictors and yields their events as they come; ends the actors.

    Where the layout wants no certain number of predictors, there are more of them when nodes come.
    Raises Ray's own errors when an actor fails or nothing is heard of them any more, EngineError when all are gone.
    """
    actor: Any = ray.remote(JoinedActor).options(
        num_cpus=layout.cpus_per_predictor,
        num_gpus=layout.gpus_per_predictor,
        max_concurrency=CONCURRENT_CALLS,
        scheduling_strategy="SPREAD",
        **RESTARTED,
    )
    room_at_first = room(cluster_resources(), layout.place)

    def places() -> int:
        more = max(0, room(cluster_resources(), layout.place) - room_at_first)
        return min(len(works), layout.predictors + more if layout.wanted is None else layout.wanted)

    pool = JoinedPool(lambda: actor.remote(job, layout), places, works)
    try:
        yield from pool.events()
    finally:
        pool.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    actor: Any
    works: Sequence[Work]


class JoinedPool:
    """Actors, those that are up and those that wait for a node with room, and which of them has which works.

    Works are dealt out in order, a few to a call, to whoever is up and free.
    """

    def __init__(self, hire: Callable[[], Any], places: Callable[[], int], works: Sequence[Work]) -> None:
        """`hire` makes an actor, `places` says how many there should be by now."""
        self._hire = hire
        self._places = places
        self._actors: list[Any] = []
        self._starting: dict[Any, Any] = {}
        self._free: deque[Any] = deque()
        self._calls: dict[Any, _Call] = {}
        self._away: dict[Any, float] = {}
        self._grow()
        ranges = runs(len(works), len(self._actors) * CONCURRENT_CALLS)
        self._blocks = deque(works[start:stop] for start, stop in ranges)

    def events(self) -> Iterator[Event]:
        """Ends with the last work, also while some actors still wait for a node that has room for them."""
        heard_at = looked_at = time.monotonic()
        while self._calls or (self._blocks and self._starting):
            ready, _ = ray.wait([*self._starting, *self._calls], timeout=LOOK_S)
            now = time.monotonic()
            for heard in ready:
                heard_at = now
                yield from self._hear(heard)
            if now > heard_at + STILL_S:
                message = f"nothing was heard of the actors for {STILL_S:.0f} s: have the nodes room for them?"
                raise ray.exceptions.GetTimeoutError(message)
            if now >= looked_at + LOOK_S:
                looked_at = now
                self._look(now)

    def end(self) -> None:
        """Ends the actors."""
        for actor in self._actors:
            ray.kill(actor)

    def _grow(self) -> None:
        for _ in range(self._places() - len(self._actors)):
            self._start()

    def _start(self) -> None:
        actor = self._hire()
        self._actors.append(actor)
        self._starting[actor.__ray_ready__.remote()] = actor

    def _hear(self, heard: Any) -> Iterator[Event]:
        """An actor is up, or a call has an event or is over."""
        if heard in self._starting:
            ray.get(heard)
            self._free.extend([self._starting.pop(heard)] * CONCURRENT_CALLS)
        else:
            call = self._calls.pop(heard)
            try:
                event = ray.get(next(heard))
            except StopIteration:
                self._free.append(call.actor)
            else:
                yield event
                self._calls[heard] = call  # behind the others: they take turns
        self._deal()

    def _deal(self) -> None:
        while self._blocks and self._free:
            actor, works = self._free.popleft(), self._blocks.popleft()
            self._calls[actor.predict.options(**STREAMING).remote(works)] = _Call(actor=actor, works=works)

    def _look(self, now: float) -> None:
        """Has others do the works of actors that find no room any more, and takes on more where nodes have come."""
        restarting = dict.fromkeys(call.actor for call in self._calls.values() if _is_restarting(call.actor))
        self._away = {actor: self._away.get(actor, now) for actor in restarting}
        lost = [actor for actor, since in self._away.items() if now >= since + AWAY_S]
        for actor in lost:
            self._replace(actor)
        if lost and not (self._calls or self._free):
            raise EngineError("the nodes of all actors are gone, and no other one has room")
        self._deal()
        self._grow()

    def _replace(self, actor: Any) -> None:
        """Takes on a new actor for one that is away; should that come back, it would do what others do by then."""
        for generator, call in list(self._calls.items()):
            if call.actor == actor:
                self._blocks.appendleft(call.works)
                del self._calls[generator]
        self._free = deque(free for free in self._free if free != actor)
        self._actors.remove(actor)
        ray.kill(actor)
        self._start()


def _is_restarting(actor: Any) -> bool:
    """Whether the actor's process is gone and Ray has not started it anew yet."""
    return bool(actor._get_local_state() == ActorTableData.ActorState.RESTARTING)
