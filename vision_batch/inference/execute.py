"""One pass of a predict run: shards to do, through Ray Data, to events. The ledger judges completeness, not this."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError, SystemException

from vision_batch.errors import EngineError
from vision_batch.inference.blocks import work_blocks
from vision_batch.inference.event import Event, events_of
from vision_batch.inference.joined import JoinedActor
from vision_batch.inference.layout import CONCURRENT_CALLS
from vision_batch.inference.split import GatherActor, PredictActor, PreprocessActor

if TYPE_CHECKING:
    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work


RAY_ADVICE = "Failed to apply UDF transform"
"""Where Ray Data begins to advise, after the cause, how to configure it."""

REPEATS = 10
"""How often Ray repeats a call whose actor died. A shard or an image that kills costs its actor one life, the next one
being careful; what kills an actor otherwise must not do so for ever."""
RESTARTED: dict[str, Any] = {"max_restarts": -1, "max_task_retries": REPEATS}

EVENTS_AHEAD = 64
CHUNKS_AHEAD = 2
"""How many outputs of one call may wait for the driver before its actor waits too. Ray's default of 2 lets about 40
events a second out of an actor (measured on 2 cores), which small shards exceed. Chunks are large, so few may wait."""


def execute(job: PredictJob, layout: Layout, works: Sequence[Work]) -> Generator[Event, None, None]:
    """Runs `works` on the Ray that this process is connected to and yields events as they come.

    Raises EngineError when Ray gives up, an actor's device fails, or an actor raises what it should not.
    """
    _configure(outputs_ahead=EVENTS_AHEAD if layout.name == "joined" else CHUNKS_AHEAD)
    reason = None
    try:
        yield from _stream(job, layout, works)
    except (ray.exceptions.RayError, SystemException, ExecutionTimeoutError) as error:
        reason = _reason(error)
    finally:
        gc.collect()  # actors live as long as something refers to them, and they hold what the next pass needs
    if reason is not None:  # not raised from Ray's error, whose traceback refers to the actors
        raise EngineError(reason)


def _stream(job: PredictJob, layout: Layout, works: Sequence[Work]) -> Generator[Event, None, None]:
    is_joined = layout.name == "joined"
    blocks = work_blocks(works, layout.predictors * CONCURRENT_CALLS if is_joined else layout.preprocessors)
    # from_arrow would start a remote task for each block, to count its rows
    dataset = (_joined if is_joined else _split)(ray.data.from_blocks(blocks), job, layout)
    stream: Any = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    with closing(stream):  # ends the pass and its actors also when nobody wants more events
        for batch in stream:
            yield from events_of(batch)


def _configure(*, outputs_ahead: int) -> None:
    context = ray.data.DataContext.get_current()
    context._max_num_blocks_in_streaming_gen_buffer = outputs_ahead
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # bytes: every row that an actor yields leaves it at once
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is told once, in our own words
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")  # few chunks are no mistake
    warnings.filterwarnings("ignore", message=".*ray_remote_args")  # there is no other way yet to say how often


def _joined(dataset: ray.data.Dataset, job: PredictJob, layout: Layout) -> ray.data.Dataset:
    return dataset.map_batches(
        JoinedActor,
        batch_size=1,
        batch_format="pyarrow",
        fn_constructor_args=(job, layout),
        compute=ray.data.ActorPoolStrategy(
            size=layout.predictors, max_concurrent_calls_per_actor=CONCURRENT_CALLS, enable_true_multi_threading=True
        ),
        num_cpus=layout.cpus_per_predictor,
        num_gpus=layout.gpus_per_predictor,
        **RESTARTED,
    )


def _split(dataset: ray.data.Dataset, job: PredictJob, layout: Layout) -> ray.data.Dataset:
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
            compute=ray.data.ActorPoolStrategy(
                size=layout.predictors,
                # an accelerator works by itself: one call brings it the next chunk while another awaits its answer
                max_concurrent_calls_per_actor=CONCURRENT_CALLS if layout.gpus_per_predictor else 1,
                enable_true_multi_threading=bool(layout.gpus_per_predictor),
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


def _reason(error: BaseException) -> str:
    """The innermost cause that says something, in one line: what Ray wraps around it helps no user."""
    said: BaseException | None = error
    text = type(error).__name__
    while said is not None:
        if str(said).strip():
            text = f"{type(said).__name__}: {' '.join(str(said).split(RAY_ADVICE)[0].split())[-600:]}"
        said = getattr(said, "cause", None) or said.__cause__
    return text
