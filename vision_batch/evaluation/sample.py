"""The facts of a random sample of all images, for the intervals."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, Final, Generic

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.measure import F

MOST_IMAGES: Final = 20_000
MOST_BYTES: Final = 256 << 20


class Sample(Generic[F]):
    """Of all images those with the smallest of random numbers, which come from `seed`."""

    def __init__(self, seed: int, *, most_images: int = MOST_IMAGES, most_bytes: int = MOST_BYTES) -> None:
        self._random = np.random.default_rng(seed)
        self._most_images = most_images
        self._most_bytes = most_bytes
        self._held: list[tuple[NDArray[np.float64], F, NDArray[np.int32]]] = []
        self._held_images = 0
        self._below = 1.0

    def add(self, facts: F, slices: NDArray[np.int32]) -> None:
        """Takes in n images and their slices (n, columns)."""
        numbers = self._random.random(len(facts))
        some = np.flatnonzero(numbers < self._below)
        if len(some):
            self._held.append((numbers[some], facts.take(some), slices[some]))
            self._held_images += len(some)
        if self._held_images > 2 * self._most_images:
            self._settle()

    def taken(self) -> tuple[F, NDArray[np.int32]] | None:
        """The sample's facts, and slices (n, columns); None where there was no image."""
        if not self._held:
            return None
        self._settle()
        return self._held[0][1:]

    def _settle(self) -> None:
        """Makes one piece of what is held, no larger than the sample may be."""
        numbers = np.concatenate([each for each, _, _ in self._held])
        facts = type(self._held[0][1]).merged([each for _, each, _ in self._held])
        slices = np.concatenate([each for _, _, each in self._held])
        most = min(self._most_images, len(numbers))
        if (size := fact_bytes(facts) * most // max(len(numbers), 1)) > self._most_bytes:
            most = self._most_images = max(2, most * self._most_bytes // size)
        if most < len(numbers):
            kept = np.sort(np.argpartition(numbers, most)[:most])
            self._below = float(numbers[kept].max())
            numbers, facts, slices = numbers[kept], facts.take(kept), slices[kept]
        self._held = [(numbers, facts, slices)]
        self._held_images = len(numbers)


def fact_bytes(facts: Any) -> int:
    """Of all arrays of a dataclass, and of the dataclasses in it."""
    if is_dataclass(facts):
        return sum(fact_bytes(getattr(facts, field.name)) for field in fields(facts))
    return int(getattr(facts, "nbytes", 0))
