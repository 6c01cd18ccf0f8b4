"""The split layout on Ray Data, which streams chunks from the preprocessors to the predictors and to the gatherer."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.exceptions import ExecutionTimeoutError, SystemException

from vision_batch.errors import EngineError
from vision_batch.inference.actor_stage import RESTARTED
from vision_batch.inference.blocks import work_blocks
from vision_batch.inference.event import Event, events_of
from vision_batch.inference.joined_pool import AWAY_S
from vision_batch.inference.layout import CONCURRENT_CALLS
from vision_batch.inference.room import LOOK_S, live_nodes
from vision_batch.inference.split import GatherActor, PredictActor, PreprocessActor

if TYPE_CHECKING:
    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work


NODE_ID_LABEL = "ray.io/node-id"
"""What Ray itself puts on every node."""


def split_events(job: PredictJob, layout: Layout, works: Sequence[Work]) -> Generator[Event, None, None]:
    """Streams `works` through the layout's actors and yields their events as they come.

    Raises Ray's own errors when an actor fails, EngineError when Ray Data gives up.
    """
    hearing = Hearing()
    _configure(hearing)
    # from_arrow would start a remote task for each block, to count its rows
    dataset = _stages(ray.data.from_blocks(work_blocks(works, layout.preprocessors)), job, layout)
    stream: Any = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    try:
        with closing(stream):
            for batch in stream:
                hearing.latest = time.monotonic()
                yield from events_of(batch)
    except (SystemException, ExecutionTimeoutError) as error:
        raise EngineError(str(error)) from error


class Hearing:
    """When the driver last heard of the actors; time.monotonic()."""

    def __init__(self) -> None:
        self.latest = time.monotonic()


class Lookout(ExecutionCallback):
    """Gives a pass up of which nothing is heard any more since a node has gone.

    Ray Data leaves a call with its actor, also when no other node has room for that. The next pass has a layout of what
    is left.
    """

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._nodes = frozenset(live_nodes())
        self._looked = time.monotonic()

    def on_execution_step(self, executor: Any) -> None:
        """Called by Ray Data many times a second, in a thread of its own. EngineError ends the execution."""
        now = time.monotonic()
        if now < self._looked + LOOK_S:
            return
        self._looked = now
        if now >= self._hearing.latest + AWAY_S and self._nodes - live_nodes().keys():
            raise EngineError(f"a node is gone, and nothing was heard for {AWAY_S:.0f} s of what it had in work")


def _configure(hearing: Hearing) -> None:
    context = ray.data.DataContext.get_current()
    context.custom_execution_callback_classes = [partial(Lookout, hearing)]  # type: ignore[list-item]
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # bytes: every row that an actor yields leaves it at once
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is told once, in our own words
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")  # few chunks are no mistake
    warnings.filterwarnings("ignore", message=".*ray_remote_args")  # there is no other way yet to say how often


def _stages(dataset: ray.data.Dataset, job: PredictJob, layout: Layout) -> ray.data.Dataset:
    return (
        dataset.map_batches(
            PreprocessActor,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(job, layout),
            compute=ray.data.ActorPoolStrategy(size=layout.preprocessors),
            num_cpus=layout.cpus_per_preprocessor,
            **RESTARTED,
        )
        .map_batches(
            PredictActor,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(job, layout),
            # while one chunk is received and sent on, the other keeps the device busy
            compute=ray.data.ActorPoolStrategy(
                size=layout.predictors,
                max_concurrent_calls_per_actor=CONCURRENT_CALLS,
                enable_true_multi_threading=True,
            ),
            num_cpus=layout.cpus_per_predictor,
            num_gpus=layout.gpus_per_predictor,
            **RESTARTED,
        )
        .map_batches(
            GatherActor,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=0,
            label_selector=_where_work_is_done(),
            **RESTARTED,
        )
    )


def _where_work_is_done() -> dict[str, str]:
    """A label selector for nodes that have CPUs for Ray. A head is told to have none so that it is left in peace."""
    idle = [node for node, has in live_nodes().items() if not has.get("CPU")]
    return {NODE_ID_LABEL: f"!in({','.join(idle)})"} if idle else {}
