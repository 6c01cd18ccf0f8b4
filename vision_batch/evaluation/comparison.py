"""What a comparison of two predictions found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa

from vision_batch.evaluation.mcnemar import McNemar
from vision_batch.tasks.settings import Kind

CHANGED: Final = pa.schema(
    [("image_id", pa.string()), ("a", pa.string()), ("b", pa.string()), ("agreement", pa.float64())]
)
"""Of images that changed: what each says, or the error's code; `agreement` is null where either failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What A calls `a` and B calls `b`, None for nothing at all, so many times; the ids of a few of the `images`."""

    a: str | None
    b: str | None
    count: int
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAgreement:
    """How often A says it, B says it, and both of the same image, object or pixel."""

    label: str
    in_a: int
    in_b: int
    in_both: int

    @property
    def iou(self) -> float:
        """What both say among what either says; 0 for nothing."""
        either = self.in_a + self.in_b - self.in_both
        return self.in_both / either if either else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A metric of both, and by how much that of B is higher, with the ends of the 95 % interval of that."""

    metric: str
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None

    @property
    def is_more_than_noise(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Which is better by the truth, of so many `images`. The headline is the first of the differences.

    `mcnemar` is None where an image is not simply right or wrong.
    """

    truth: str
    images: int
    differences: tuple[Difference, ...]
    mcnemar: McNemar | None
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """A sentence."""
        if not self.differences:
            return "no metric is defined for both"
        headline = self.differences[0]
        if not headline.is_more_than_noise:
            return f"no difference in {headline.metric} that is more than noise"
        return f"{'B' if headline.difference > 0 else 'A'} is better in {headline.metric}, by more than noise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two predictions, A and B, say of the same images.

    Of the `images` that both have some `failed_…`, in both perhaps with another error (`errors_changed`); the others
    are `compared`, and of these some `changed`. `agreement` are the numbers for all, `changes` what changed most
    often, of `kinds_of_change`.
    """

    kind: Kind
    a: str
    b: str
    images: int
    only_in_a: int
    only_in_b: int
    failed_in_both: int
    failed_only_in_a: int
    failed_only_in_b: int
    errors_changed: int
    compared: int
    changed: int
    agreement: dict[str, float]
    classes: tuple[ClassAgreement, ...]
    changes: tuple[Change, ...]
    kinds_of_change: int
    judgement: Judgement | None

    def as_dict(self) -> dict[str, Any]:
        """What `compare --json` prints."""
        judgement = self.judgement
        classes = [{**asdict(each), "iou": each.iou} for each in self.classes]
        verdict = None if judgement is None else {**asdict(judgement), "verdict": judgement.verdict}
        return {**asdict(self), "classes": classes, "judgement": verdict}
