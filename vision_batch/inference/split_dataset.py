"""The split layout on Ray Data, which streams chunks from the preprocessors to the predictors and to the gatherer."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import ray.data
from ray.data.exceptions import ExecutionTimeoutError, SystemException

from vision_batch.errors import EngineError
from vision_batch.inference.actor_stage import RESTARTED
from vision_batch.inference.blocks import work_blocks
from vision_batch.inference.event import Event, events_of
from vision_batch.inference.layout import CONCURRENT_CALLS
from vision_batch.inference.split import GatherActor, PredictActor, PreprocessActor

if TYPE_CHECKING:
    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work


def split_events(job: PredictJob, layout: Layout, works: Sequence[Work]) -> Generator[Event, None, None]:
    """Streams `works` through the layout's actors and yields their events as they come.

    Raises Ray's own errors when an actor fails, EngineError when Ray Data gives up.
    """
    _configure()
    # from_arrow would start a remote task for each block, to count its rows
    dataset = _stages(ray.data.from_blocks(work_blocks(works, layout.preprocessors)), job, layout)
    stream: Any = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    try:
        with closing(stream):
            for batch in stream:
                yield from events_of(batch)
    except (SystemException, ExecutionTimeoutError) as error:
        raise EngineError(str(error)) from error


def _configure() -> None:
    context = ray.data.DataContext.get_current()
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
            **RESTARTED,
        )
    )
