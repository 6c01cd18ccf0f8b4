"""The seam between the training loop and whatever runs its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from vision_batch.training.event import TrainEvent

if TYPE_CHECKING:
    import torch

Wish: TypeAlias = Literal["go", "checkpoint", "stop"]
"""What is asked of a training: nothing, to store its state soon, or to store it and end."""


class WorkerContext(Protocol):
    """Where one of several workers stands. They are connected by torch's default process group if there are several."""

    @property
    def rank(self) -> int:
        """0 up to `workers` - 1."""

    @property
    def workers(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """What this worker computes on; the process group can carry tensors that lie there."""

    def tell(self, event: TrainEvent) -> None:
        """Passes a fact on, and does not wait long. Broken images are told by every rank, all else by rank 0."""

    def wish(self) -> Wish:
        """What is asked of this worker; asked after every step, thus cheap. One rank's wish is done by all of them."""
