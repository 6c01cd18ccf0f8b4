"""What a run's actors report, added up by the driver: O(actors + shards), whatever the number of images."""

from __future__ import annotations

import time
from collections.abc import Sequence

from vision_batch.inference.event import Event
from vision_batch.inference.stopwatch import NOTHING, Lap
from vision_batch.ledger.holder import Holder, is_alive
from vision_batch.ledger.state import Work

FATAL_REFUSALS = 3
"""So many parts in a row that the storage did not take: the output is full or closed, and computing more is in vain."""

STEADY_S = 1.0
"""A rate over less than this says nothing."""


class Tally:
    """Counts of one run, over all its passes. Progress counts what was computed; truth is in the ledger.

    `laps` are what each worker did after its first report, which holds its start and that of its model.
    `ended` are the shards whose last cell has been committed in this pass.
    `batch_sizes` says, by predictor, how many images its model is given at once, as soon as that is known.
    """

    def __init__(self) -> None:
        self.images = 0
        self.images_ok = 0
        self.laps: dict[str, Lap] = {}
        self.predictors: dict[str, None] = {}
        self.batch_sizes: dict[str, int] = {}
        self.troubles: dict[str, str] = {}
        self._writers: dict[tuple[str, int], Holder | None] = {}
        self.committed = 0
        self.filled: set[str] = set()
        self.ended: set[str] = set()
        self.withheld_batches = 0
        self.refused_parts = 0
        self.crashes_in_a_row = 0
        self.last_failure = ""
        self.first_batch: float | None = None
        self._first_batch_images = 0
        self._latest: float | None = None

    def begin_pass(self) -> None:
        """Forgets what only says how the last pass went."""
        self.troubles.clear()
        self.ended.clear()
        self._writers.clear()
        self.withheld_batches = self.refused_parts = 0

    def add(self, event: Event) -> None:
        """Counts one event. The first images that arrive mark the start of the steady state."""
        if event.kind == "whole":
            self._writers[event.shard, event.cell] = event.writer
        elif event.kind in ("part", "cell_failed", "unwritten"):
            self._writers.pop((event.shard, event.cell), None)
        elif event.kind in ("shard_failed", "crashed"):  # nothing more is heard of its cells
            for cell in [cell for cell in self._writers if cell[0] == event.shard]:
                del self._writers[cell]
        if event.kind in ("shard_failed", "unwritten"):
            self.troubles[event.shard] = event.message
            self.refused_parts += event.kind == "unwritten"
        elif event.kind == "cell_failed":
            self.troubles[f"{event.shard}, cell {event.cell}"] = event.message
        elif event.kind == "crashed":
            self.troubles[event.shard] = event.message
            self.crashes_in_a_row += 1
        elif event.kind == "withheld":
            self.withheld_batches += event.batches
            self.last_failure = event.message
        elif event.kind in ("part", "progress"):
            self.predictors.setdefault(event.worker_name)
        if event.batch_rows:
            self.batch_sizes[event.worker_name] = event.batch_rows
        if event.kind == "part":
            self.committed += event.images
            self.refused_parts = 0
            self.filled.update(event.filled)
            self.ended.update([event.shard] if event.last else ())
        for worker, lap in event.laps.items():
            self.laps[worker] = self.laps[worker] + lap if worker in self.laps else NOTHING
        if event.images and event.kind == "progress":
            self._latest = time.monotonic()
            self.images += event.images
            images_ok = event.images - sum(event.errors.values())
            self.images_ok += images_ok
            self.crashes_in_a_row = 0 if images_ok else self.crashes_in_a_row
            if self.first_batch is None:
                self.first_batch, self._first_batch_images = self._latest, event.images

    def writing(self) -> set[tuple[str, int]]:
        """The cells, by shard and number, that are whole and whose parts may still be committed; for any thread.

        A process that died tells no more of what it was writing; that it did can be seen on its own machine only.
        """
        writers = self._writers.copy()
        dead = {writer for writer in set(writers.values()) if writer is not None and is_alive(writer) is False}
        return {cell for cell, writer in writers.items() if writer not in dead}

    @property
    def output_is_closed(self) -> bool:
        """Whether the storage has ceased to take parts."""
        return self.refused_parts >= FATAL_REFUSALS

    def warnings(self, extra_names: Sequence[str]) -> tuple[str, ...]:
        """What a user should hear of the columns from the input, a sentence each. None before an image was good."""
        if not (self.committed and self.images_ok):
            return ()
        unfilled = [name for name in extra_names if name not in self.filled]
        return tuple(
            f"column {name} is null in every row of this run: the input has no such thing" for name in unfilled
        )

    @property
    def work(self) -> Lap:
        """What all workers did together, without their start."""
        return sum(self.laps.values(), NOTHING)

    @property
    def steady_s(self) -> float:
        """Seconds from the first batch to the latest."""
        return 0.0 if self.first_batch is None or self._latest is None else self._latest - self.first_batch

    @property
    def images_per_second(self) -> float | None:
        """Of the steady state; None where it was too short to tell."""
        return (self.images - self._first_batch_images) / self.steady_s if self.steady_s > STEADY_S else None


class Expectation:
    """How many images a run will have in all: better known with every shard that ends, for tars have no index."""

    def __init__(self, works: Sequence[Work], total: int | None, estimate: int, done: int, cell_rows: int) -> None:
        """`total`, or else `estimate`, counts all images of the input, `done` those whose rows are there."""
        self.images = estimate if total is None else total
        self._is_exact = total is not None
        self._done = done
        self._cell_rows = cell_rows
        self._bytes = {work.shard.key: work.shard.size_bytes for work in works}
        self._bytes_left = sum(self._bytes.values())
        self._rows_known = self._bytes_known = 0

    def add(self, event: Event) -> bool:
        """Whether the event, a part that is its shard's last, has made it better known."""
        if self._is_exact or event.kind != "part" or not event.last or event.shard not in self._bytes:
            return False
        size_bytes = self._bytes.pop(event.shard)
        self._bytes_left -= size_bytes
        self._bytes_known += size_bytes
        self._rows_known += event.cell * self._cell_rows + event.images
        left = self._bytes_left * self._rows_known / max(1, self._bytes_known)
        self.images = self._done + self._rows_known + round(left)
        return True
