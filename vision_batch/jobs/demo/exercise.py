"""What the demo does: an exercise for each kind of prediction, with the specs of the repository's `jobs/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """A model and what it is used for.

    The spec `train` makes the model, None where an exercise before has; the spec `predict` uses it. Its predictions are
    as they should be where `metric`, measured on images that training never saw, is `wanted` or more.
    """

    task: str
    train: str | None
    predict: str
    metric: str
    wanted: float


CLASSIFICATION: Final = Exercise(
    task="classification", train="digits-train.yaml", predict="digits.yaml", metric="accuracy", wanted=0.95
)
EXERCISES: Final = (
    CLASSIFICATION,
    Exercise(task="embedding", train=None, predict="embed.yaml", metric="knn_5_accuracy", wanted=0.9),
    Exercise(task="detection", train="detect-train.yaml", predict="detect.yaml", metric="ap50", wanted=0.6),
    Exercise(task="segmentation", train="segment-train.yaml", predict="segment.yaml", metric="mean_iou", wanted=0.75),
)
PLUGINS: Final = ("digits_model.py", "detect_model.py", "segment_model.py")
EVALUATE: Final = "evaluate.yaml"
"""For whoever goes on by himself: what the demo measures one number of, with all numbers."""
SPECS: Final = (*(name for each in EXERCISES for name in (each.train, each.predict) if name is not None), EVALUATE)
