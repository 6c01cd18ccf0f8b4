"""What an actor is made of, and where it runs."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import pyarrow as pa

from vision_batch.datasets.table import format_named
from vision_batch.errors import (
    CrashError,
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
from vision_batch.inference.batch_size import BatchSize
from vision_batch.inference.cell_gatherer import WholeCell, commit_cell
from vision_batch.inference.chunk import EncodedChunk, Place
from vision_batch.inference.decode_stage import CHUNKS_AHEAD, Decoder
from vision_batch.inference.event import Event, Kind
from vision_batch.inference.job import PredictJob
from vision_batch.inference.stage import Stage
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.ledger.cell import chunks, wanted_rows
from vision_batch.ledger.lease import demand_lease
from vision_batch.ledger.members import load_members
from vision_batch.ledger.replace import Replacer
from vision_batch.ledger.schema import output_schema
from vision_batch.ledger.state import Work
from vision_batch.tasks.table import task_for

if TYPE_CHECKING:
    from ray.runtime_context import RuntimeContext
    from torch.nn import Module

    from vision_batch.datasets.shard import Shard
    from vision_batch.inference.model_stage import ModelStage
    from vision_batch.inference.tiled_stage import TiledStage
    from vision_batch.models.predictor import Predictor


UNDONE = (StorageError, LedgerError, ShardError, HeldError)
"""What leaves a shard undone and is no image's fault; the run goes on with the other shards."""

REFUSALS = (ForbiddenError, UnavailableError)
"""What the storage says when it does not take a part: that cell is not stored, others may be."""

BROKEN = (ModelError, SpecError)
"""What ends the run: every shard would fail of it."""

TOLD = (*UNDONE, *BROKEN, CrashError)
"""What an actor tells the driver as an event; with all else Ray gives the pass up."""


NODE_ID_CHARACTERS = 12
"""Of the 56 that Ray's ids have: enough to tell a cluster's nodes apart, and to find one in its dashboard."""


def decode_stage(job: PredictJob, threads: int) -> Stage:
    """EncodedChunk to DecodedChunk, in `threads` threads."""
    return Stage(device="cpu", run=_decoder(job, threads))


def model_stage(job: PredictJob, threads: int) -> Stage:
    """DecodedChunk to PredictedChunk. `threads` is how many CPU threads one operator of the model may use."""
    model = _model(job, threads)
    return Stage(device=model.device, run=model.run)


def whole_stage(job: PredictJob, threads: int) -> Stage:
    """EncodedChunk to PredictedChunk; with 0 threads the caller's own does all of it."""
    decoder, model = _decoder(job, threads), _model(job, max(1, threads))
    return Stage(device=model.device, run=lambda chunks, watch: model.run(decoder(chunks, watch), watch))


def _decoder(job: PredictJob, threads: int) -> Decoder:
    function = job.function.load() if job.function is not None else None
    # two calls that share a CPU lose nothing by it when they do not decode large images at the same time
    preprocessor = Preprocessor(
        job.preprocess, max_pixels=job.max_pixels, function=function, large_at_once=max(1, threads)
    )
    lies_on_image = task_for(job.task, job.model.labels).lies_on_image
    ahead = CHUNKS_AHEAD if job.task.tile_px is None else 1
    return Decoder(preprocessor, threads, job.preprocess.output_px, lies_on_image=lies_on_image, chunks_ahead=ahead)


def _model(job: PredictJob, threads: int) -> ModelStage | TiledStage:
    from vision_batch.inference.model_stage import ModelStage
    from vision_batch.inference.tiled_stage import TiledStage
    from vision_batch.models.compiled import CompiledPredictor
    from vision_batch.models.tile_blend import TileBlend
    from vision_batch.tasks.segmentation import Segmentation

    task = task_for(job.task, job.model.labels)
    schema = output_schema(task.fields(), job.extra_fields)
    batch_size = BatchSize(job.batch_rows, trial=job.batch_trial and job.task.tile_px is None)
    module = job.model.load()
    if isinstance(task, Segmentation) and task.tile_px is not None:
        blend = TileBlend(module, task.tile_px, task.check)
        return TiledStage(_predictor(job, blend), blend, task, schema, batch_size=batch_size, threads=threads)
    predictor = _predictor(job, module)
    called = CompiledPredictor(predictor, job.batch_rows, batch_size.out_of_memory) if job.compile else predictor
    padded = job.preprocess.longest_px is not None
    return ModelStage(called, task, schema, batch_size=batch_size, threads=threads, padded=padded)


def _predictor(job: PredictJob, module: Module) -> Predictor:
    from vision_batch.models.device import choose_device, limit_memory
    from vision_batch.models.predictor import Predictor

    device = choose_device()
    try:
        limit_memory(device, job.gpu_share)
        return Predictor(
            module,
            mean=job.preprocess.mean,
            std=job.preprocess.std,
            precision=job.precision,
            device=device,
        )
    except (DeviceError, ModelError):
        raise
    except Exception as error:  # the module's own code runs when it is moved
        raise ModelError(f"the model cannot be put on its device: {type(error).__name__}: {error}") from error


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
    for chunk in chunks(samples, job.cell_rows, job.chunk_rows, *stored):
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


def committed(job: PredictJob, replacer: Replacer, cell: WholeCell, watch: Stopwatch, worker: dict[str, str]) -> Event:
    """Commits a whole cell; the event says that its part is there, or what keeps this cell, and no other, from it.

    HeldError when the run has ended: nothing more of it can be committed.
    """
    try:
        record = commit_cell(job, replacer, cell, watch)
    except (StorageError, LedgerError) as error:
        kind: Kind = "unwritten" if isinstance(error, REFUSALS) else "cell_failed"
        return Event(kind=kind, shard=cell.shard, cell=cell.cell, message=str(error), worker=worker)
    return Event(
        kind="part",
        shard=cell.shard,
        cell=cell.cell,
        last=cell.last,
        images=record.rows,
        filled=cell.filled(job.input.extra_names),
        worker=worker,
    )


def told(error: Exception, shard: str, worker: dict[str, str]) -> Event:
    """The event for one of TOLD."""
    kind: Kind = (
        "shard_failed" if isinstance(error, UNDONE) else "crashed" if isinstance(error, CrashError) else "fatal"
    )
    return Event(kind=kind, shard=shard, message=str(error), worker=worker)


def is_reborn() -> bool:
    """Whether the actor of this process died before and Ray has started it anew."""
    context = _ray_context()
    if context is None or context.get_actor_id() is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own making: the property asks another that is deprecated
        return bool(context.was_current_actor_reconstructed)


def describe_worker(device: str = "cpu") -> dict[str, str]:
    """Host, Ray's node (the beginning of its id), pid, device, and the GPUs that Ray pinned this process to."""
    context = _ray_context()
    ids = [] if context is None else context.get_accelerator_ids().get("GPU", [])
    return {
        "host": socket.gethostname(),
        "node": "" if context is None else context.get_node_id()[:NODE_ID_CHARACTERS],
        "pid": str(os.getpid()),
        "device": device,
        "gpus": ",".join(ids),
    }


def _ray_context() -> RuntimeContext | None:
    """None outside of Ray, where asking for it would start one."""
    import ray

    return ray.get_runtime_context() if ray.is_initialized() else None
