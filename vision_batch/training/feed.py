"""An epoch's batches on their way into steps: on the device, mixed, and as many together as one step learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from vision_batch.training.batch import Batch
from vision_batch.training.losses import Loss
from vision_batch.training.mixing import Mixer
from vision_batch.training.own_loss import OwnLoss
from vision_batch.training.upload import Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A worker's images of one global batch, on its device.

    `images` is float32 (n, 3, H, W) and `targets` has n entries. Where n is 0 `images` may still have one, a black one,
    so that every worker takes part in every step with modules that cannot be called without images.
    """

    images: Tensor
    targets: Tensor
    image_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInput:
    """What one step of the optimizer learns from: on this worker `shares`, of all of them the positions up to `stop`.

    `batches` are the shares as they were read. `weights`, float64 (T,), are what the loss's terms are divided by.
    """

    number: int
    stop: int
    batches: tuple[Batch, ...]
    shares: tuple[Share, ...]
    weights: Tensor

    @property
    def images(self) -> int:
        return sum(map(len, self.shares))


class Feed:
    """Reads batches and prepares them for steps."""

    def __init__(
        self,
        upload: Upload,
        loss: Loss | OwnLoss,
        mixer: Mixer,
        *,
        classes: int,
        size_px: tuple[int, int],
        accumulate: int,
        is_empty_passed: bool,
    ) -> None:
        """`size_px` is height and width of all images; a step has `accumulate` batches.

        `is_empty_passed` says that the module is to be called with no images where there are none.
        """
        self._upload = upload
        self._loss = loss
        self._mixer = mixer
        self._classes = classes
        self._size_px = size_px
        self._accumulate = accumulate
        self._least_images = 0 if is_empty_passed else 1

    def steps(self, batches: Iterator[Batch], *, first: int, seed: int, rank: int) -> Iterator[StepInput]:
        """The inputs of the steps from number `first` on. The last one of an epoch may have fewer batches."""
        number = first
        while group := tuple(islice(batches, self._accumulate)):
            shares = tuple(map(self.share, group))
            if self._mixer:
                generator = torch.Generator().manual_seed(step_seed(seed, number, rank, use="mixing"))
                shares = tuple(self._mixed(share, generator) for share in shares)
            weights = [self._loss.weights(share.targets, self._classes) for share in shares]
            yield StepInput(
                number=number,
                stop=group[-1].stop,
                batches=group,
                shares=shares,
                weights=torch.stack(weights).double().sum(0),
            )
            number += 1

    def share(self, batch: Batch) -> Share:
        """A batch on the device as it is."""
        if not len(batch):
            shape = (0, *self._size_px) if batch.targets.dtype == np.uint8 else batch.targets.shape
            images = torch.zeros(self._least_images, 3, *self._size_px, device=self._upload.device)
            return Share(images=images, targets=self._upload.plain(np.empty(shape, batch.targets.dtype)), image_ids=())
        images, targets = self._upload.images(batch.pixels), self._upload.plain(batch.targets)
        return Share(images=images, targets=targets, image_ids=batch.image_ids)

    def _mixed(self, share: Share, generator: torch.Generator) -> Share:
        images, targets = self._mixer(share.images[: len(share)], share.targets, generator)
        return Share(images=images if len(share) else share.images, targets=targets, image_ids=share.image_ids)


def step_seed(seed: int, step: int, rank: int, *, use: str) -> int:
    """A seed of its own for every step, worker and use: so a training that is resumed needs no generator's state."""
    words = [seed & 0xFFFFFFFF, seed >> 32, step, rank, int.from_bytes(use.encode(), "little")]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
