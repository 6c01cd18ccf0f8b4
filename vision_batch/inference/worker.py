"""What an actor is made of, and where it runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

from vision_batch.datasets.table import format_named
from vision_batch.images.preprocess import Preprocessor
from vision_batch.inference.chunk import DecodedChunk
from vision_batch.inference.decode_stage import Decoder
from vision_batch.inference.job import PredictJob
from vision_batch.inference.model_stage import ModelStage
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.ledger.cell import chunks, wanted_rows
from vision_batch.ledger.schema import output_schema
from vision_batch.ledger.state import Work
from vision_batch.tasks.table import task_for

if TYPE_CHECKING:
    from vision_batch.tasks.task import Task


def make_decoder(job: PredictJob, threads: int) -> Decoder:
    """The CPU stage of one actor."""
    function = job.function.load() if job.function is not None else None
    preprocessor = Preprocessor(job.preprocess, max_pixels=job.max_pixels, function=function)
    return Decoder(preprocessor, threads, job.preprocess.output_px)


def make_model_stage(job: PredictJob, threads: int) -> ModelStage:
    """The model on this actor's device. `threads` is how many CPU threads one operator of the model may use."""
    import torch

    from vision_batch.models.device import choose_device
    from vision_batch.models.predictor import Predictor

    torch.set_num_threads(threads)
    predictor = Predictor(
        job.model.load(),
        mean=job.preprocess.mean,
        std=job.preprocess.std,
        precision=job.precision,
        device=choose_device(),
    )
    task = make_task(job)
    return ModelStage(predictor, task, output_schema(task.fields(), job.extra_fields))


def make_task(job: PredictJob) -> Task:
    return task_for(job.task, job.model.labels)


def decoded_chunks(job: PredictJob, work: Work, decoder: Decoder, watch: Stopwatch) -> Iterator[DecodedChunk]:
    """Reads and decodes one shard's missing cells. The same work gives the same chunks, always: Ray replays calls."""
    wanted = wanted_rows(job.cell_rows, work.done_cells)
    samples = format_named(job.format).read(work.shard, job.input, wanted)
    if job.row_limits is not None:
        limit = job.row_limits[work.shard.key]
        samples = takewhile(lambda sample: sample.row < limit, samples)
    cut = chunks(samples, job.cell_rows, job.batch_rows, work.done_cells)
    return decoder(work.shard.key, work.shard.version, cut, watch)


def describe_worker(device: str = "cpu") -> dict[str, str]:
    """Host, pid, device, and the GPUs that Ray pinned this process to."""
    import ray

    ids = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return {"host": socket.gethostname(), "pid": str(os.getpid()), "device": device, "gpus": ",".join(ids)}
