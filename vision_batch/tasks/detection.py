"""Boxes around things, each with a class."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import ModelError
from vision_batch.images.geometry import Geometry
from vision_batch.tasks.box_targets import box_names, box_target, packed
from vision_batch.tasks.detection_metrics import DetectionMetrics
from vision_batch.tasks.detector_answer import Answer, Found, answers, check_answer, demand_scores, found_in, is_usable
from vision_batch.tasks.instance_mask import full_rle
from vision_batch.tasks.logits import NO_NUMBERS, NOT_COMPARABLE
from vision_batch.tasks.nms import best_of_overlapping, overlaps
from vision_batch.tasks.task import Agreement, Predicted, Target, View

if TYPE_CHECKING:
    from vision_batch.images.example import Example

CORNERS: Final = ("x_min", "y_min", "x_max", "y_max")
SURE: Final = 0.3
"""What a box must score to be looked for in a lower precision: what scores less comes and goes by chance."""
SAME_PLACE: Final = 0.95
"""The overlap of two boxes that are the same: the strictest that COCO measures by."""
SCORE_TOLERANCE: Final = 0.05
SAME_BOXES: Final = 0.95
"""The share of boxes that must be found again."""


def boxes_type(*, masks: bool) -> pa.ListType:
    """That of the column `boxes`."""
    number = [(name, pa.float32()) for name in ("score", *CORNERS)]
    runs = [("mask_rle", pa.string())] if masks else []
    return pa.list_(pa.struct([("label", pa.string()), ("label_index", pa.int32()), *number, *runs]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The things of an image, the best first; of equal scores in the model's order.

    Boxes are put where they lie in the full image, as shown, and cut at its edges; those without area are dropped, as
    are those that score less than `score_threshold` (compared as float32). With `nms_iou` the best of overlapping boxes
    of one class is kept. Of what is left the best `max_boxes` are listed. With `masks` each has the pixels of the full
    image that are probably the thing's, in COCO's runs; these may be none.
    """

    score_threshold: float
    nms_iou: float | None
    max_boxes: int
    masks: bool
    labels: tuple[str, ...] | None

    lies_on_image: ClassVar[bool] = True
    headline: ClassVar[str] = "mean_average_precision_50"
    losses: ClassVar[tuple[str, ...]] = ()
    default_loss: ClassVar[None] = None
    unusable: ClassVar[str] = f"{NO_NUMBERS}, or a score that is not from 0 to 1: apply softmax or sigmoid to logits"

    def fields(self) -> list[pa.Field]:
        return [pa.field("boxes", boxes_type(masks=self.masks))]

    def check(self, outputs: Any, count: int | None = None) -> None:
        given = answers(outputs)
        if count is not None and len(given) != count:
            raise ModelError(f"the model returned boxes for {len(given)} images, and it was given {count}")
        for answer in given:
            check_answer(answer, self.labels, masks=self.masks, score_threshold=self.score_threshold)

    def finite(self, outputs: Any) -> NDArray[np.bool_]:
        return np.array([self._is_usable(answer) for answer in answers(outputs)], bool)

    def agreement(self, exact: Any, lowered: Any) -> Agreement:
        """Close where nearly every box that scores 0.3 or more is found again in the other: the same class, an overlap
        of 0.95 or more, and a score within 0.05."""
        usable = self.finite(exact)
        if not usable.any() or not self.finite(lowered)[usable].all():
            return NOT_COMPARABLE
        again = [
            found_again
            for one, other, is_usable in zip(answers(exact), answers(lowered), usable, strict=True)
            if is_usable
            for found_again in (*self._again(one, other), *self._again(other, one))
        ]
        if not again:
            return Agreement(is_close=False, text=f"no box scores {SURE} or more, so that nothing can be compared")
        text = f"{sum(again)} of {len(again)} boxes of fp32 and of it are found again in the other"
        return Agreement(is_close=sum(again) >= SAME_BOXES * len(again), text=text)

    def _again(self, some: Answer, others: Answer) -> list[bool]:
        """Which of the boxes to be looked for are among the others too."""
        here, there = (found_in(answer, (1, 1), masks=False) for answer in (some, others))
        here = here.take(here.scores >= max(SURE, self.score_threshold))
        is_alike = np.abs(here.scores[:, None] - there.scores) <= SCORE_TOLERANCE
        is_alike &= here.labels[:, None] == there.labels
        found = (is_alike & (overlaps(here.boxes, there.boxes) >= SAME_PLACE)).any(axis=1)
        return list(map(bool, found))

    def columns(self, outputs: Any, views: Sequence[View], model_px: tuple[int, int]) -> list[pa.Array]:
        """Masks in as many threads as torch has for an operator."""
        kept = [self._kept(answer, view, model_px) for answer, view in zip(answers(outputs), views, strict=True)]
        index = np.concatenate([np.empty(0, np.int64), *(found.labels for found in kept)])
        boxes = np.concatenate([np.empty((0, 4), np.float32), *(found.boxes for found in kept)])
        values = [
            pa.array([str(i) if self.labels is None else self.labels[i] for i in index], pa.string()),
            pa.array(index.astype(np.int32)),
            pa.array(np.concatenate([np.empty(0, np.float32), *(found.scores for found in kept)])),
            *(pa.array(np.ascontiguousarray(edge)) for edge in boxes.T),
        ]
        if self.masks:
            values.append(pa.array(_runs(kept, views, model_px), pa.string()))
        type = boxes_type(masks=self.masks)
        offsets = np.concatenate([[0], np.cumsum([len(found.labels) for found in kept])]).astype(np.int32)
        things = pa.StructArray.from_arrays(values, fields=list(type.value_type))
        return [pa.ListArray.from_arrays(offsets, things, type=type)]

    def names(self, truth: Any) -> tuple[str, ...]:
        return box_names(truth)

    def target(self, truth: Any) -> Target:
        """`truth` is a list of boxes or its JSON, as in `tasks/box_truth.py`; boxes around crowds are left out."""
        return box_target(truth, self.labels or ())

    def collate(self, targets: Sequence[Target], examples: Sequence[Example]) -> NDArray[np.float32]:
        return packed(examples)

    def metrics(self) -> DetectionMetrics:
        """Of the boxes that a predict job would list."""
        return DetectionMetrics(classes=len(self.labels or ()), found=self._listed)

    def _listed(self, predicted: Predicted) -> list[Found]:
        """As they lie in the model's input; none of an image that would have no prediction.

        ModelError as of `check`, and for scores that are no probabilities: those of a module that learns are all wrong.
        """
        self.check(predicted.outputs)
        height, width = predicted.model_px
        geometry = Geometry(scale_x=1.0, scale_y=1.0, offset_x=0.0, offset_y=0.0)
        view = View(width=width, height=height, geometry=geometry)
        listed = []
        for answer in answers(predicted.outputs):
            demand_scores(answer)
            found = self._kept(answer, view, predicted.model_px)
            listed.append(found if self._is_usable(answer) else found.take(np.empty(0, np.intp)))
        return listed

    def _is_usable(self, answer: Answer) -> bool:
        return is_usable(answer, masks=self.masks, score_threshold=self.score_threshold)

    def _kept(self, answer: Answer, view: View, model_px: tuple[int, int]) -> Found:
        """What is listed, best first, with the boxes in pixels of the full image."""
        found = found_in(answer, model_px, masks=self.masks)
        size = np.array([view.width, view.height] * 2)
        boxes = view.geometry.boxes_to_full(found.boxes).clip(0, size).astype(np.float32)
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        passed = np.flatnonzero(has_area & (found.scores >= np.float32(self.score_threshold)))
        best = self._best(boxes[passed], found.scores[passed], found.labels[passed])
        return replace(found, boxes=boxes).take(passed[best])

    def _best(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> NDArray[np.intp]:
        if self.nms_iou is None:
            return np.argsort(-scores, kind="stable")[: self.max_boxes]
        return best_of_overlapping(boxes, scores, labels, self.nms_iou, most=self.max_boxes)


def _runs(kept: Sequence[Found], views: Sequence[View], model_px: tuple[int, int]) -> list[str]:
    """One text for each thing of each image."""
    import torch

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        todo = [
            pool.submit(full_rle, mask, view, model_px)
            for found, view in zip(kept, views, strict=True)
            for mask in found.masks
        ]
        return [each.result() for each in todo]
