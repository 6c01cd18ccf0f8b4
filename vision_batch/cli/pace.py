"""What a run tells of its progress, added up. One thread may tell and another may ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from vision_batch.cluster.progress import JobProgress
from vision_batch.jobs.reporter import Standing

UNPLANNED = JobProgress(
    images_total=None,
    images_done=0,
    images_failed=0,
    images_per_second=None,
    seconds=0.0,
    seconds_left=None,
    shards_total=None,
    shards_done=0,
)


class Pace:
    """Counts and their rate, which begins with the first batch: that one waited for Ray to start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._counts = UNPLANNED
        self._first: float | None = None
        self._before = 0

    def wait(self, what: str | None) -> None:
        with self._lock:
            self._counts = replace(self._counts, waiting=what)

    def start(self, standing: Standing) -> None:
        """What was told of an earlier run is over."""
        with self._lock:
            self._first = None
            self._counts = replace(
                self._counts,
                images_total=standing.images_total,
                images_done=standing.images_done,
                images_failed=standing.images_failed,
                shards_total=standing.shards_total,
                shards_done=standing.shards_done,
                figures=None,
            )

    def expect(self, total: int) -> None:
        with self._lock:
            self._counts = replace(self._counts, images_total=total)

    def advance(self, images: int, failed: int) -> None:
        with self._lock:
            counts = self._counts
            done = counts.images_done + images
            self._counts = replace(counts, images_done=done, images_failed=counts.images_failed + failed)
            if self._first is None:
                self._first, self._before = time.monotonic(), done

    def learn(self, figures: Mapping[str, float]) -> None:
        with self._lock:
            self._counts = replace(self._counts, figures=dict(figures))

    def complete(self, shards: int) -> None:
        with self._lock:
            self._counts = replace(self._counts, shards_done=shards)

    def progress(self) -> JobProgress:
        """All of it now."""
        now = time.monotonic()
        with self._lock:
            counts, first, before = self._counts, self._first, self._before
        counts = replace(counts, seconds=round(now - self._started, 1))
        if first is None or counts.images_total is None:
            return counts
        rate = (counts.images_done - before) / max(now - first, 1e-9)
        left = max(0, counts.images_total - counts.images_done) / rate if rate > 0 else None
        return replace(
            counts,
            images_per_second=round(rate, 1),
            seconds_left=None if left is None else round(left),
        )
