"""How good a module is on the validation images, of which every worker has a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vision_batch.tasks.task import TrainableTask
from vision_batch.training.batch import Batch, Ingest
from vision_batch.training.failure import step_errors
from vision_batch.training.feed import Feed
from vision_batch.training.forward import Forward
from vision_batch.training.losses import Loss, LossTerm
from vision_batch.training.progress import Counts
from vision_batch.training.together import Together


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What validation needs besides the module; its batches have `batch_images`, as far as they go round.

    `loss` is None where the module brings its own, which it says only while it learns.
    """

    ingest: Ingest
    task: TrainableTask
    loss: Loss | None
    forward: Forward
    feed: Feed
    batch_images: int


@torch.no_grad()
def validate(
    module: nn.Module, validation: Validation, together: Together, *, is_stopped: Callable[[Batch], bool]
) -> dict[str, float] | None:
    """The task's metrics and, where there is one, the mean `loss`, the same on all workers; None if it was stopped.

    All are made of sums over the workers, so that no image counts more than another, whoever had it. `module` is called
    by itself: workers may have unequal shares. `is_stopped` is asked after every batch, by all workers alike.
    LedgerError unless every image came once.
    """
    metrics, counts, sums = validation.task.metrics(), Counts(), torch.zeros(0)
    module.eval()
    together.spread(module.buffers())
    batches = validation.ingest.batches(
        epoch=0, start=0, rank=together.rank, workers=together.workers, batch_images=validation.batch_images
    )
    for batch in batches:
        with step_errors():
            share = validation.feed.share(batch)
            outputs = validation.forward(module, share)
            if len(share):
                metrics.update(outputs, share.targets)
            if validation.loss is not None:
                values = _sums(validation.loss(outputs, share.targets))
                sums = sums + values if len(sums) else values
        counts.add([batch])
        if is_stopped(batch):
            return None
    counts.of_all(together).demand(validation.ingest, epoch=0)
    state = metrics.state()
    summed = together.sums([*state.tolist(), *sums.tolist()])
    return {**metrics.result(np.array(summed[: len(state)])), **_loss(summed[len(state) :])}


def _sums(terms: Sequence[LossTerm]) -> Tensor:
    """Each term's factor times its sum, and behind these each one's weight."""
    return torch.stack([term.factor * term.total for term in terms] + [term.weight for term in terms])


def _loss(sums: Sequence[float]) -> dict[str, float]:
    count = len(sums) // 2
    shares = [total / weight for total, weight in zip(sums[:count], sums[count:], strict=True) if weight]
    return {"loss": sum(shares)} if shares else {}
