"""The joined layout on Ray's own actors: works are dealt out to them, and their events come back.

No image moves between processes, so that Ray Data would have nothing to stream. Measured on 2 cores, it costs 3.3 of
the 12 CPU-seconds before the first prediction: three actors of its own, and an import of 0.4 s in every process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ray

from vision_batch.inference.actor_stage import RESTARTED
from vision_batch.inference.blocks import runs
from vision_batch.inference.joined import JoinedActor
from vision_batch.inference.layout import CONCURRENT_CALLS

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


def joined_events(job: PredictJob, layout: Layout, works: Sequence[Work]) -> Generator[Event, None, None]:
    """Deals `works` out to the layout's predictors and yields their events as they come; ends the actors.

    Raises Ray's own errors when an actor fails or nothing is heard of them any more.
    """
    actor: Any = ray.remote(JoinedActor).options(
        num_cpus=layout.cpus_per_predictor,
        num_gpus=layout.gpus_per_predictor,
        max_concurrency=CONCURRENT_CALLS,
        scheduling_strategy="SPREAD",
        **RESTARTED,
    )
    actors = [actor.remote(job, layout) for _ in range(layout.predictors)]
    try:
        yield from dealt(actors, works)
    finally:
        for handle in actors:
            ray.kill(handle)


def dealt(actors: Sequence[Any], works: Sequence[Work]) -> Iterator[Event]:
    """The events of `works`, dealt out in order to whichever of `actors` are up and free.

    It ends with the last work, also while some actors still wait for a node that has room for them.
    """
    blocks = deque(works[start:stop] for start, stop in runs(len(works), len(actors) * CONCURRENT_CALLS))
    starting = {actor.__ray_ready__.remote(): actor for actor in actors}
    calls: dict[Any, Any] = {}
    heard: Any
    while calls or (blocks and starting):
        ready, _ = ray.wait([*starting, *calls], timeout=STILL_S)
        if not ready:
            message = f"nothing was heard of the actors for {STILL_S:.0f} s: have the nodes room for them?"
            raise ray.exceptions.GetTimeoutError(message)
        (heard,) = ready
        if heard in starting:
            ray.get(heard)
            actor, free = starting.pop(heard), CONCURRENT_CALLS
        else:
            actor, free = calls.pop(heard), 1
            with suppress(StopIteration):
                yield ray.get(next(heard))
                calls[heard], free = actor, 0  # behind the others: they take turns
        for _ in range(min(free, len(blocks))):
            calls[actor.predict.options(**STREAMING).remote(blocks.popleft())] = actor
