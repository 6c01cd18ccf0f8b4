"""One pass of a predict run: shards to do, through Ray Data, to events. The ledger judges completeness, not this."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import ray
import ray.data

from vision_batch.errors import EngineError
from vision_batch.inference.event import Event, events_of
from vision_batch.inference.joined import CONCURRENT_CALLS, JoinedActor
from vision_batch.inference.split import GatherActor, PredictActor, PreprocessActor

if TYPE_CHECKING:
    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work


def execute(job: PredictJob, layout: Layout, works: Sequence[Work]) -> Iterator[Event]:
    """Runs `works` on the Ray that this process is connected to and yields events as they come.

    Raises EngineError when Ray gives up, an actor's device fails, or an actor raises what it should not.
    """
    _configure()
    blocks = [pa.table({"work": pa.array([pickle.dumps(work)], pa.large_binary())}) for work in works]
    place = _joined if layout.name == "joined" else _split
    dataset = place(ray.data.from_arrow(blocks), job, layout)
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from events_of(batch)
    except ray.exceptions.RayError as error:
        raise EngineError(_reason(error)) from error


def _configure() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # bytes: every row that an actor yields leaves it at once
    logging.getLogger("ray.data").setLevel(logging.ERROR)


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
        )
        .map_batches(
            PredictActor,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(job, layout),
            compute=ray.data.ActorPoolStrategy(size=layout.predictors),
            num_cpus=layout.cpus_per_predictor,
            num_gpus=layout.gpus_per_predictor,
        )
        .map_batches(
            GatherActor,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=0,
        )
    )


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: what Ray wraps around it says nothing to a user."""
    while (cause := getattr(error, "cause", None) or error.__cause__) is not None and cause is not error:
        error = cause
    return f"{type(error).__name__}: {' '.join(str(error).split())[-600:]}"
