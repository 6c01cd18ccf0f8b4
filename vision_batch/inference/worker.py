"""What an actor is made of, and where it runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import pyarrow as pa

from vision_batch.datasets.table import format_named
from vision_batch.errors import (
    DeviceError,
    ForbiddenError,
    HeldError,
    LedgerError,
    ModelError,
    ShardError,
    SpecError,
    StorageError,
    UnavailableError,
)
from vision_batch.images.preprocess import Preprocessor
from vision_batch.inference.chunk import EncodedChunk, Place
from vision_batch.inference.decode_stage import Decoder
from vision_batch.inference.job import PredictJob
from vision_batch.inference.model_stage import ModelStage
from vision_batch.inference.stage import Stage
from vision_batch.ledger.cell import chunks, wanted_rows
from vision_batch.ledger.lease import demand_lease
from vision_batch.ledger.members import load_members
from vision_batch.ledger.schema import output_schema
from vision_batch.ledger.state import Work
from vision_batch.tasks.table import task_for

if TYPE_CHECKING:
    from vision_batch.datasets.shard import Shard


UNDONE = (StorageError, LedgerError, ShardError, HeldError)
"""What leaves a shard undone and is no image's fault; the run goes on with the other shards."""

REFUSALS = (ForbiddenError, UnavailableError)
"""What the storage says when it does not take a part: that cell is not stored, others may be."""

BROKEN = (ModelError, SpecError)
"""What ends the run: every shard would fail of it."""

BIRTH_FAILURES = (ModelError, SpecError, StorageError)
"""What an actor that cannot be set up tells by its first call: one that dies at its birth is only born again."""


def calm_openmp() -> None:
    """Lets torch's CPU threads sleep, not spin, when they have nothing to do: they share the cores with the decoders.

    OpenMP reads this once, when torch is first imported in the process. Measured on 2 cores: 1,170 to 1,300 images/s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def decode_stage(job: PredictJob, threads: int) -> Stage:
    """EncodedChunk to DecodedChunk, in `threads` threads."""
    return Stage(device="cpu", run=_decoder(job, threads))


def model_stage(job: PredictJob, threads: int) -> Stage:
    """DecodedChunk to PredictedChunk. `threads` is how many CPU threads one operator of the model may use."""
    model = _model(job, threads)
    return Stage(device=model.device, run=lambda chunks, watch: (model(chunk, watch) for chunk in chunks))


def whole_stage(job: PredictJob, threads: int) -> Stage:
    """EncodedChunk to PredictedChunk; with 0 threads the caller's own does all of it."""
    decoder, model = _decoder(job, threads), _model(job, max(1, threads))
    return Stage(
        device=model.device, run=lambda chunks, watch: (model(chunk, watch) for chunk in decoder(chunks, watch))
    )


def _decoder(job: PredictJob, threads: int) -> Decoder:
    function = job.function.load() if job.function is not None else None
    preprocessor = Preprocessor(job.preprocess, max_pixels=job.max_pixels, function=function)
    return Decoder(preprocessor, threads, job.preprocess.output_px)


def _model(job: PredictJob, threads: int) -> ModelStage:
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
    return ModelStage(predictor, task, schema, threads=threads)


def encoded_chunks(job: PredictJob, work: Work) -> Iterator[EncodedChunk]:
    """Reads one shard's missing cells and the rows of its patches.

    The same work gives the same chunks, always: Ray replays calls.
    A run that is being stopped begins no shard. ShardError when the shard's extra columns are not those of the output,
    HeldError when the run has ended.
    """
    if demand_lease(job.paths, job.run_id).stopping:
        return
    format = format_named(job.format)
    shard = load_members(job.paths, work.shard)
    _check_fields(job, shard, format.extra_fields(shard, job.input))
    stored = work.done_cells, work.patches, shard.pruned_rows
    samples = format.read(shard, job.input, wanted_rows(job.cell_rows, *stored))
    if job.row_limits is not None:
        limit = job.row_limits[shard.key]
        samples = takewhile(lambda sample: sample.row < limit, samples)
    for chunk in chunks(samples, job.cell_rows, job.batch_rows, *stored):
        place = Place(
            shard=shard.key,
            version=shard.version,
            cell=chunk.cell,
            index=chunk.index,
            ends_cell=chunk.ends_cell,
            last_cell=chunk.last_cell,
            patch=chunk.patch,
        )
        yield EncodedChunk(place=place, samples=chunk.samples)


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
