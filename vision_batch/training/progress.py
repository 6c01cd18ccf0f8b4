"""How far a training is: what is counted on the way, and what a checkpoint holds of it besides tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vision_batch.errors import LedgerError
from vision_batch.training.batch import Batch, Ingest
from vision_batch.training.event import BrokenImage, TrainEvent
from vision_batch.training.settings import EarlyStoppingSettings
from vision_batch.training.together import Together

HALF = 1 << 32


@dataclass(slots=True, kw_only=True)
class Counts:
    """A worker's account of the images that it was given: so many learned from, so many broken, and the sum of all
    their identities modulo 2^64.

    `codes` counts the broken ones by error code, and `example` is one of them: of this run alone, in no checkpoint.
    """

    images: int = 0
    broken: int = 0
    checksum: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    example: BrokenImage | None = None

    def add(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.images += len(batch)
            self.broken += len(batch.broken)
            self.codes.update(image.error_code for image in batch.broken)
            self.example = self.example or next(iter(batch.broken), None)
            self.checksum = (self.checksum + batch.checksum) % 2**64

    def reasons(self, together: Together) -> str:
        """Why the images that all workers were given since this run began are broken, as `3 x truncated, as a.jpg: …`;
        empty where none is."""
        told = together.from_all((self.codes, self.example))
        codes = sum((codes for codes, _ in told), Counter[str]())
        example = next((image for _, image in told if image is not None), None)
        if example is None:
            return ""
        counted = ", ".join(f"{count:,} x {code}" for code, count in codes.most_common())
        return f"{counted}, as {example.image_id}: {example.error or example.error_code}"

    def of_all(self, together: Together) -> Counts:
        """The account of all workers. The identities' halves are summed apart: float64 holds such sums exactly."""
        own = [self.images, self.broken, self.checksum % HALF, self.checksum // HALF]
        images, broken, low, high = map(int, together.sums(own))
        return Counts(images=images, broken=broken, checksum=(low + high * HALF) % 2**64)

    def demand(self, ingest: Ingest, *, epoch: int) -> None:
        """LedgerError unless this, the account of all workers, is that of the epoch's plan."""
        planned = ingest.checksum(epoch)
        if (self.images + self.broken, self.checksum) != (ingest.images, planned):
            raise LedgerError(
                f"epoch {epoch + 1}",
                f"{self.images} images came and {self.broken} broken ones, with the checksum {self.checksum:016x}; "
                f"planned are {ingest.images} with {planned:016x}: an image was left out or came twice",
            )


@dataclass(slots=True, kw_only=True)
class Progress:
    """Where a training stands: in `epoch`, from 0, of which the images up to `position` are done, after `step` steps.

    `counts` are this worker's of the epoch, and in a checkpoint those of all. `loss_sum` is the sum of the epoch's
    losses, each times its images, `loss_images` their number, and `seconds` the time that it took. `strange` counts the
    steps of this run whose loss was no number. `history` has an event for each epoch that is over.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    counts: Counts = field(default_factory=Counts)
    loss_sum: float = 0.0
    loss_images: int = 0
    strange: int = 0
    seconds: float = 0.0
    history: list[TrainEvent] = field(default_factory=list)

    @property
    def loss(self) -> float | None:
        """The epoch's mean so far."""
        return self.loss_sum / self.loss_images if self.loss_images else None

    def next_epoch(self, event: TrainEvent) -> None:
        """`event` is what is to be said of the one that is over."""
        self.history.append(event)
        self.epoch += 1
        self.position = self.loss_images = self.strange = 0
        self.loss_sum = self.seconds = 0.0
        self.counts = Counts()

    def state(self, counts: Counts) -> dict[str, Any]:
        """All of it with the `counts` of all workers, as a document."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "step": self.step,
            "counts": {"images": counts.images, "broken": counts.broken, "checksum": str(counts.checksum)},
            "loss_sum": self.loss_sum,
            "loss_images": self.loss_images,
            "seconds": self.seconds,
            "history": [_document(event) for event in self.history],
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any], *, is_first: bool) -> Progress:
        """As `state` has it. Only the first worker takes the counts over: they are summed again."""
        counts = state["counts"]
        return cls(
            epoch=state["epoch"],
            position=state["position"],
            step=state["step"],
            counts=Counts(**{**counts, "checksum": int(counts["checksum"])}) if is_first else Counts(),
            loss_sum=state["loss_sum"],
            loss_images=state["loss_images"],
            seconds=state["seconds"],
            history=history_of(state),
        )


def history_of(state: Mapping[str, Any]) -> list[TrainEvent]:
    """The events of the epochs that a checkpoint tells of."""
    return [TrainEvent(kind="epoch", **facts) for facts in state["history"]]


def is_over(history: Sequence[TrainEvent], epochs: int, stopping: EarlyStoppingSettings | None, headline: str) -> bool:
    """Whether nothing is left to do: all epochs are over, or the metric did not get better for too long."""
    if len(history) >= epochs:
        return True
    if stopping is None:
        return False
    best, waited = float("-inf"), 0
    for event in history:
        if not event.metrics:
            continue
        value = event.metrics.get(headline, float("-inf"))
        best, waited = (value, 0) if value > best + stopping.min_delta else (best, waited + 1)
    return waited >= stopping.patience


def _document(event: TrainEvent) -> dict[str, Any]:
    names = ("step", "epoch", "epochs", "images_per_epoch", "workers", "images", "broken", "seconds", "loss")
    facts = {name: getattr(event, name) for name in (*names, "learning_rate", "is_best")}
    return {**facts, "metrics": dict(event.metrics)}
