"""The seam between the images of an epoch and the loop that learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_batch.training.event import BrokenImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One rank's share of a global batch: of the positions [`start`, `stop`) of an epoch those that this rank serves.

    `pixels` is uint8 (n, H, W, 3), RGB, `targets` what the task's `collate` makes of n images. `identities`, uint64
    (n,), tell an epoch's images apart; `image_ids` are their names. n may be 0: then H and W mean nothing, and the rank
    takes part in the step all the same. The images at the other positions are `broken`.
    """

    start: int
    stop: int
    pixels: NDArray[np.uint8]
    targets: NDArray[Any]
    identities: NDArray[np.uint64]
    image_ids: tuple[str, ...]
    broken: tuple[BrokenImage, ...] = ()
    broken_identities: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def checksum(self) -> int:
        """The sum of the identities of all its positions, those of broken images too, modulo 2^64."""
        return (int(self.identities.sum()) + int(self.broken_identities.sum())) % 2**64


class Ingest(Protocol):
    """Gives a rank its images. Everybody's batches of an epoch together have every position once, in every layout."""

    @property
    def images(self) -> int:
        """How many positions an epoch has, each epoch as many; each is an image, or with class sampling a repeat."""

    def checksum(self, epoch: int) -> int:
        """The sum of the identities at all positions, modulo 2^64: that of all ranks' batches together."""

    def batches(self, *, epoch: int, start: int, rank: int, workers: int, batch_images: int) -> Iterator[Batch]:
        """The rank's batches from position `start` of the epoch on, in order; as many on every rank.

        Global batches begin at `start` and have workers x `batch_images` positions, the last one of the epoch what is
        left. StorageError when images cannot be read after all retries; LedgerError when they are not those that the
        catalogue counted. To close the iterator ends its work.
        """

    def close(self) -> None:
        """Ends its threads. Nothing may be asked of it any more."""
