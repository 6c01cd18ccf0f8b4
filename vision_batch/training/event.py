"""What workers tell the driver of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["begin", "step", "epoch", "checkpoint", "broken", "note", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenImage:
    """An image that training goes without: what it is called, where it lies, and why."""

    image_id: str
    shard: str
    row: int
    error_code: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenStep:
    """A step of the optimizer: its mean loss over all workers' images, None where it was left out, its learning rate,
    and its gradients' length before clipping."""

    loss: float | None
    learning_rate: float | None = None
    gradient_norm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainEvent:
    """One fact.

    begin       training starts, or goes on, from where `epoch`, `step` and `position` say, on `workers` workers;
                `history` has the event of each epoch that is over
    step        since the last such event `images` of all workers were learned from within `seconds`; `taken` are
                the steps since then, in order and up to `step`; `loss` is their mean over the images
    epoch       `epoch` is at its end: `loss` is its mean over the images, `metrics` has the validation's values by
                name, its mean loss as `loss`, and is empty where none was due; `images` were learned from and `broken`
                were not; `is_best` says that no validation was better before
    checkpoint  the state after `step` is stored at `uri`
    broken      `images_broken` are left out of this epoch; in another one they may be told of again
    note        `message` is for people
    done        all epochs are over, or a validation has ended them

    `step` counts the optimizer's steps over all epochs, `epoch` from 0, `position` the images of the epoch that are
    done, of `images_per_epoch`. `learning_rate` is that of the epoch's last step.
    `waited` is the share of `seconds` in which the first worker stood still for want of images.
    """

    kind: Kind
    step: int = 0
    epoch: int = 0
    epochs: int = 0
    position: int = 0
    images_per_epoch: int = 0
    workers: int = 0
    images: int = 0
    broken: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    loss: float | None = None
    taken: tuple[TakenStep, ...] = ()
    learning_rate: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    is_best: bool = False
    uri: str = ""
    message: str = ""
    images_broken: tuple[BrokenImage, ...] = ()
    history: tuple[TrainEvent, ...] = ()

    @property
    def images_per_second(self) -> float:
        """Of all workers together; 0 where no time went by."""
        return self.images / self.seconds if self.seconds > 0 else 0.0
