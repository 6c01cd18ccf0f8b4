"""What the workers of a training add up, decide and hold together: a few small collective calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from vision_batch.training.context import WorkerContext

T = TypeVar("T")


class Together:
    """Everything here is called by all workers in the same order, and gives all of them the same.

    A single worker needs no process group: then nothing is sent.
    """

    def __init__(self, context: WorkerContext) -> None:
        self.rank = context.rank
        self.workers = context.workers
        self.device = context.device

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sum over all workers at each place, in float64. Waits for all of them."""
        if self.workers == 1:
            return list(values)
        return cast("list[float]", self.summed(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist())

    def summed(self, values: Tensor) -> Tensor:
        """`values`, which lie on the device and become the sum; the host does not wait for it."""
        if self.workers > 1:
            dist.all_reduce(values)
        return values

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Gives all workers the values of the first one's `tensors`, in place."""
        if self.workers > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def from_first(self, value: T) -> T:
        """What the first worker says. Anything that pickles."""
        if self.workers == 1:
            return value
        box: list[T] = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def from_all(self, value: T) -> list[T]:
        """What each worker says, by rank. Anything that pickles."""
        if self.workers == 1:
            return [value]
        box = cast("list[T]", [None] * self.workers)
        dist.all_gather_object(box, value)
        return box
