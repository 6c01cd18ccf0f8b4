"""What the workers of a training tell, added up by the driver."""

from __future__ import annotations

from vision_batch.training.event import TrainEvent

STEADY_S = 3.0
"""What limited a run that had no more than this after its first step is anybody's guess."""
STARVED = 0.2
"""Workers that wait for images for more than this share of the time would be faster with more who decode."""


class TrainTally:
    """Adds up what workers tell: O(broken images), which are bounded, and O(1) besides.

    `epoch`, `step` and `position` say how far the training is; `loss` is the mean of the latest
    steps, or at an epoch's end that of the epoch, `metrics` the latest validation.
    """

    MOST_BROKEN = 100_000

    def __init__(self, *, has_repeats: bool = False) -> None:
        """`has_repeats` says that an epoch shows some images several times, and counts them as often."""
        self._has_repeats = has_repeats
        self.epoch = self.step = self.position = self.images_per_epoch = self.workers = 0
        self.loss: float | None = None
        self.metrics: dict[str, float] = {}
        self.failures: dict[str, int] = {}
        self.resumed = 0
        self._seen: set[tuple[str, int]] = set()
        self._told = 0
        self._images = 0
        self._seconds = self._waited = 0.0
        self._has_stepped = False
        self._is_beginning = True

    def begin(self) -> None:
        """A training begins, or the next fold's."""
        self._is_beginning = True

    def add(self, event: TrainEvent) -> None:
        """Counts one event; the first steps, in which everything starts, are left out of the pace."""
        if event.kind == "begin":
            self._place(event)
            self.workers, self.images_per_epoch = event.workers, event.images_per_epoch
            self.resumed += self.images_done if self._is_beginning else 0
            self._is_beginning = False
        elif event.kind == "step":
            self._place(event)
            self.loss = event.loss if event.loss is not None else self.loss
            if self._has_stepped:
                self._images += event.images
                self._seconds += event.seconds
                self._waited += event.waited * event.seconds
            self._has_stepped = True
        elif event.kind == "epoch":
            self.epoch, self.step, self.position = event.epoch + 1, event.step, 0
            self.loss = event.loss
            self._told = max(self._told, 0 if self._has_repeats else event.broken)
            self.metrics = dict(event.metrics) or self.metrics
        elif event.kind == "broken":
            for image in event.images_broken:
                identity = image.shard, image.row
                if identity not in self._seen and len(self._seen) < self.MOST_BROKEN:
                    self._seen.add(identity)
                    self.failures[image.error_code] = self.failures.get(image.error_code, 0) + 1

    @property
    def images_done(self) -> int:
        """Over all epochs."""
        return self.epoch * self.images_per_epoch + self.position

    @property
    def broken(self) -> int:
        """Images that could not be used: those that were told of, or that an epoch has counted."""
        return max(len(self._seen), self._told)

    @property
    def images_per_second(self) -> float | None:
        """None where it was too short to tell."""
        return self._images / self._seconds if self._seconds > 0 else None

    @property
    def waited(self) -> float | None:
        return self._waited / self._seconds if self._seconds > 0 else None

    def bottleneck(self, *, is_split: bool = False) -> str | None:
        """What limited the run, in a sentence; None where it was too short to tell."""
        waited = self.waited
        if waited is None or self._seconds < STEADY_S:
            return None
        share = f"{100 * waited:.0f} %"
        if waited > STARVED:
            joined_ways = "more CPUs for each (compute.cpus_per_worker), or compute.layout: split,"
            ways = "more compute.preprocessors, and CPUs for them," if is_split else joined_ways
            return (
                f"reading and decoding: the workers waited for images for {share} of the time; {ways} "
                f"gain at most {1 / (1 - min(waited, 0.99)):.1f}x"
            )
        return f"the workers: they waited for images for {share} of the time; more of them would help"

    def _place(self, event: TrainEvent) -> None:
        self.epoch, self.step, self.position = event.epoch, event.step, event.position
