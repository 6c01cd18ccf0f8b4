"""How good boxes are while a model learns: COCO's average precision at an IoU of 0.5, as sums over many workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.tasks.box_targets import unpacked
from vision_batch.tasks.detector_answer import Found
from vision_batch.tasks.nms import overlaps
from vision_batch.tasks.task import Predicted

if TYPE_CHECKING:
    import torch

MATCHING_IOU: Final = 0.5
MOST_BINS: Final = 1024
STATE_VALUES: Final = 1 << 21
"""Of half a state: with very many classes there are fewer bins for each."""
RECALLS: Final = np.linspace(0, 1, 101)
"""Where COCO looks at precision."""


class DetectionMetrics:
    """`mean_average_precision_50` over the classes that some image has, and `recall_50` of all their boxes.

    As COCO has it, a prediction is right if it overlaps a box of its class by an IoU of 0.5 or more that no better one
    has taken, and precision is interpolated at 101 recalls. But scores are sorted into bins, 1,024 of [0, 1]: so a
    state is, for each class, two histograms (of wrong and of right predictions) and the number of boxes.
    """

    def __init__(self, *, classes: int, found: Callable[[Predicted], Sequence[Found]]) -> None:
        """`found` says what a model's outputs mean, image by image, best first, in pixels of the model's input."""
        self._classes = classes
        self._found = found
        self._bins = max(64, min(MOST_BINS, STATE_VALUES // max(1, classes)))
        self._boxes = np.zeros(classes)
        self._histograms = np.zeros((2, classes, self._bins))

    def update(self, outputs: Predicted, targets: torch.Tensor) -> None:
        truths = unpacked(targets.cpu(), len(targets))
        for found, truth in zip(self._found(outputs), truths, strict=True):
            boxes, labels = truth["boxes"].numpy(), truth["labels"].numpy()
            self._boxes += np.bincount(labels, minlength=self._classes)
            bins = np.clip(found.scores * self._bins, 0, self._bins - 1).astype(np.int64)
            is_right = _is_right(found, boxes, labels).astype(np.int64)
            np.add.at(self._histograms, (is_right, found.labels, bins), 1)

    def state(self) -> NDArray[np.float64]:
        return np.concatenate([self._boxes, self._histograms.ravel()])

    def result(self, state: NDArray[np.float64]) -> dict[str, float]:
        boxes = state[: self._classes]
        wrong, right = state[self._classes :].reshape(2, self._classes, self._bins)[:, :, ::-1].cumsum(axis=2)
        occurs = np.flatnonzero(boxes)
        if not len(occurs):
            return {}
        precisions = [_average_precision(wrong[index], right[index], boxes[index]) for index in occurs]
        return {
            "mean_average_precision_50": float(np.mean(precisions)),
            "recall_50": float(right[occurs, -1].sum() / boxes.sum()),
        }


def _is_right(found: Found, boxes: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which predictions (K,) have a box for themselves: each takes the one of those left that it overlaps most."""
    shared = overlaps(found.boxes, boxes) * (found.labels[:, None] == labels)
    is_right = np.zeros(len(shared), np.bool_)
    for place in range(len(shared)) if len(boxes) else ():
        best = int(shared[place].argmax())
        if shared[place, best] >= MATCHING_IOU:
            is_right[place] = True
            shared[:, best] = 0
    return is_right


def _average_precision(wrong: NDArray[np.float64], right: NDArray[np.float64], boxes: float) -> float:
    """Of cumulated counts (bins,) from the highest score on."""
    precision = right / np.maximum(wrong + right, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or a higher one
    place = np.searchsorted(right / boxes, RECALLS, side="left")
    return float(np.append(envelope, 0.0)[place].mean())
