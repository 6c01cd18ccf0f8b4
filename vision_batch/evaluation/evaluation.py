"""What an evaluation found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vision_batch.evaluation.measure import ConfusionCell, Curve
from vision_batch.tasks.settings import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row of `metrics.parquet`: a metric of all images or of a slice, of all classes or of `label`.

    `value` is None where it is not defined. `low` and `high` are the ends of the 95 % interval, None without one.
    """

    metric: str
    label: str | None
    slice: str | None
    value: float | None
    low: float | None
    high: float | None
    support: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was measured, and of how many images.

    `images` have a truth and a row, of which `images_failed` are error rows. `images_without_truth` have a row only,
    `truths_without_image` a truth only; neither is in any metric. `curves` and `confusion` are of all images.
    """

    kind: Kind
    predictions: str
    truth: str | None
    images: int
    images_failed: int
    images_without_truth: int
    truths_without_image: int
    results: tuple[Result, ...]
    confusion: tuple[ConfusionCell, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured of all images and classes, by name."""
        whole = (result for result in self.results if result.slice is None and result.label is None)
        return {result.metric: result.value for result in whole if result.value is not None}

    def as_dict(self) -> dict[str, Any]:
        """What `evaluate --json` prints."""
        return {
            "kind": self.kind,
            "predictions": self.predictions,
            "truth": self.truth,
            "images": self.images,
            "images_failed": self.images_failed,
            "images_without_truth": self.images_without_truth,
            "truths_without_image": self.truths_without_image,
            "metrics": self.metrics,
            "notes": list(self.notes),
        }
