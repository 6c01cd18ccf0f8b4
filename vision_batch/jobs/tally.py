"""What a run's actors report, added up by the driver: O(actors + shards in trouble), whatever the number of images."""

from __future__ import annotations

import time
from collections import Counter

from vision_batch.inference.event import Event


class Tally:
    """Counts of one run, over all its passes. Progress counts what was computed; truth is in the ledger."""

    def __init__(self) -> None:
        self.images = 0
        self.parts = 0
        self.seconds: Counter[str] = Counter()
        self.predictors: dict[str, None] = {}
        self.troubles: dict[str, str] = {}
        self.first_batch: float | None = None
        self._first_batch_images = 0
        self._latest: float | None = None

    def add(self, event: Event) -> None:
        """Counts one event. The first images that arrive mark the start of the steady state."""
        if event.kind == "part":
            self.parts += 1
        elif event.kind == "shard_failed":
            self.troubles[event.shard] = event.message
        self.seconds.update(event.seconds)
        if event.worker:
            self.predictors.setdefault(" ".join(f"{key}={value}" for key, value in event.worker.items()))
        if event.images and event.kind == "progress":
            self._latest = time.monotonic()
            self.images += event.images
            if self.first_batch is None:
                self.first_batch, self._first_batch_images = self._latest, event.images

    @property
    def steady_s(self) -> float:
        """Seconds from the first batch to the latest."""
        return 0.0 if self.first_batch is None or self._latest is None else self._latest - self.first_batch

    @property
    def images_per_second(self) -> float | None:
        """Of the steady state; None where there was none."""
        return (self.images - self._first_batch_images) / self.steady_s if self.steady_s > 0 else None
