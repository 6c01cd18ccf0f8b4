"""What an actor is made of, and where it runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import pyarrow as pa

from vision_batch.datasets.table import format_named
from vision_batch.errors import DeviceError, LedgerError, ModelError, ShardError, SpecError, StorageError
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
    from vision_batch.datasets.shard import Shard


UNDONE = (StorageError, LedgerError, ShardError)
"""What leaves a shard undone and is no image's fault; the run goes on with the other shards."""

BROKEN = (ModelError, SpecError)
"""What ends the run: every shard would fail of it."""

BIRTH_FAILURES = (ModelError, SpecError, StorageError)
"""What an actor that cannot be set up tells by its first call: one that dies at its birth is only born again."""


def calm_openmp() -> None:
    """Lets torch's CPU threads sleep, not spin, when they have nothing to do: they share the cores with the decoders.

    OpenMP reads this once, when torch is first imported in the process. Measured on 2 cores: 1,170 to 1,300 images/s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def make_decoder(job: PredictJob, threads: int) -> Decoder:
    """The CPU stage of one actor."""
    function = job.function.load() if job.function is not None else None
    preprocessor = Preprocessor(job.preprocess, max_pixels=job.max_pixels, function=function)
    return Decoder(preprocessor, threads, job.preprocess.output_px)


def make_model_stage(job: PredictJob, threads: int) -> ModelStage:
    """The model on this actor's device. `threads` is how many CPU threads one operator of the model may use."""
    from vision_batch.models.device import choose_device
    from vision_batch.models.predictor import Predictor

    module = job.model.load()
    try:
        predictor = Predictor(
            module,
            mean=job.preprocess.mean,
            std=job.preprocess.std,
            precision=job.precision,
            device=choose_device(),
        )
    except (DeviceError, ModelError):
        raise
    except Exception as error:  # the module's own code runs when it is moved
        raise ModelError(f"the model cannot be put on its device: {type(error).__name__}: {error}") from error
    task = task_for(job.task, job.model.labels)
    schema = output_schema(task.fields(), job.extra_fields)
    return ModelStage(predictor, task, schema, threads=threads, proven=job.proven)


def decoded_chunks(job: PredictJob, work: Work, decoder: Decoder, watch: Stopwatch) -> Iterator[DecodedChunk]:
    """Reads and decodes one shard's missing cells. The same work gives the same chunks, always: Ray replays calls.

    ShardError when its extra columns are not those of the output.
    """
    format = format_named(job.format)
    _check_fields(job, work.shard, format.extra_fields(work.shard, job.input))
    samples = format.read(work.shard, job.input, wanted_rows(job.cell_rows, work.done_cells))
    if job.row_limits is not None:
        limit = job.row_limits[work.shard.key]
        samples = takewhile(lambda sample: sample.row < limit, samples)
    cut = chunks(samples, job.cell_rows, job.batch_rows, work.done_cells)
    return decoder(work.shard.key, work.shard.version, cut, watch)


def _check_fields(job: PredictJob, shard: Shard, fields: Sequence[pa.Field]) -> None:
    stored = output_schema([], fields)
    for ours, theirs in zip(job.extra_fields, (stored.field(field.name) for field in fields), strict=True):
        if theirs.type not in (ours.type, pa.null()):
            message = f"its {ours.name} is {theirs.type}, in the output it is {ours.type}"
            raise ShardError(shard.files[0].uri, message)


def describe_worker(device: str = "cpu") -> dict[str, str]:
    """Host, pid, device, and the GPUs that Ray pinned this process to."""
    import ray

    ids = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return {"host": socket.gethostname(), "pid": str(os.getpid()), "device": device, "gpus": ",".join(ids)}
