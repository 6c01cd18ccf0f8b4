"""What each worker of a training does; the first one makes the model at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import torch

from vision_batch.ledger.lease import demand_lease
from vision_batch.storage.uri import join
from vision_batch.tasks.table import trainable_task_for
from vision_batch.training.checkpoint import Checkpoint, CheckpointStore
from vision_batch.training.event import TrainEvent
from vision_batch.training.finish import finish
from vision_batch.training.ingest import joined_ingests
from vision_batch.training.loop import train

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vision_batch.training.batch import Ingest
    from vision_batch.training.context import WorkerContext
    from vision_batch.training.job import TrainJob
    from vision_batch.training.layout import TrainLayout

CHECKPOINTS = "checkpoints"


def train_on_worker(job: TrainJob, layout: TrainLayout, context: WorkerContext) -> None:
    """Trains from the last checkpoint on, and writes the model when training is done.

    HeldError when the output is another run's by now: what a dead driver has left over stores nothing more. All else
    is as in `train` and `finish`.
    """

    def note(message: str) -> None:
        context.tell(TrainEvent(kind="note", message=message))

    store = _HeldStore(job, note)
    ingest, validation = _ingests(job, layout, pinned=context.device.type == "cuda")
    with ExitStack() as stack:
        for opened in (ingest, validation):
            if opened is not None:
                stack.enter_context(closing(opened))
        is_done = train(
            job,
            module=_first_module(job),
            task=trainable_task_for(job.task, job.labels),
            ingest=ingest,
            validation=validation,
            store=store,
            context=context,
        )
        if is_done and context.rank == 0:
            finish(job, store, validation=validation, demand=store.demand, note=note)


def _first_module(job: TrainJob) -> nn.Module:
    """The module as training begins: random weights follow from the seed, for a run may end before any are stored."""
    torch.manual_seed(job.train.seed)
    return job.model.load()


def _ingests(job: TrainJob, layout: TrainLayout, *, pinned: bool) -> tuple[Ingest, Ingest | None]:
    if layout.name == "joined":
        return joined_ingests(job, threads=layout.decode_threads, pinned=pinned)
    from vision_batch.training.split_ingest import split_ingests  # which imports Ray Data: half a second

    return split_ingests(
        job,
        preprocessors=layout.preprocessors,
        cpus_per_preprocessor=layout.cpus_per_preprocessor,
        threads=layout.decode_threads,
        pinned=pinned,
    )


class _HeldStore(CheckpointStore):
    """The checkpoints of a run that holds its output; it asks before it saves, and again before it removes any.

    It says which ones are damaged.
    """

    def __init__(self, job: TrainJob, note: Callable[[str], None]) -> None:
        super().__init__(join(job.paths.output, CHECKPOINTS), keep_last=job.train.checkpoint.keep_last, note=note)
        self._held = job.dataset or job.paths
        self._run_id = job.run_id

    def demand(self) -> None:
        """HeldError unless the output is this run's."""
        demand_lease(self._held, self._run_id)

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Any, *, score: float | None) -> Checkpoint:
        self.demand()
        return super().save(step, tensors, state, score=score)

    def sweep(self) -> None:
        self.demand()  # what looks like a save that was cut off may be the next run's
        super().sweep()
