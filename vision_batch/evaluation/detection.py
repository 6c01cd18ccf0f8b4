"""How good boxes are, and masks of objects: COCO's numbers.

Source of all of them: Lin et al., Microsoft COCO, 2014, and its evaluation server's code, pycocotools.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.evaluation.boxes import Boxes, Classes, read_found, read_true
from vision_batch.evaluation.detection_facts import ClassResult, DetectionFacts, DetectionSums
from vision_batch.evaluation.mask_overlap import MaskOverlap
from vision_batch.evaluation.matching import AREAS, box_area, box_overlap, judge
from vision_batch.evaluation.measure import ConfusionCell, Curve, Value
from vision_batch.evaluation.ranking import BINS, MOST_EXACT, RECALLS

PRECISIONS: Final[dict[str, tuple[int, slice]]] = {
    "ap": (0, slice(None)),
    "ap50": (0, slice(0, 1)),
    "ap75": (0, slice(5, 6)),
    **{f"ap_{name}": (row, slice(None)) for row, name in enumerate(AREAS) if row},
}
"""COCO's six precisions: the range of areas and the thresholds that each is of."""
RECALL_METRICS: Final[dict[str, tuple[int, int]]] = {
    "ar1": (0, 0),
    "ar10": (1, 0),
    "ar100": (2, 0),
    **{f"ar_{name}": (2, row) for row, name in enumerate(AREAS) if row},
}
"""COCO's six recalls, each over all thresholds: the number of objects and the range of areas that each is of."""
OF_A_CLASS: Final = ("ap", "ap50", "ar100")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFacts:
    """Of n images: verdicts about boxes and, with no objects where there are none on both sides, about masks.

    `no_truth` and `no_boxes` (n,) are images whose truth or prediction could not be understood, which have no objects;
    `no_masks` (n,) those of which only the boxes are measured.
    """

    boxes: DetectionFacts
    masks: DetectionFacts
    no_truth: NDArray[np.bool_]
    no_boxes: NDArray[np.bool_]
    no_masks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.no_truth)

    def take(self, indices: NDArray[np.int64]) -> ObjectFacts:
        return ObjectFacts(
            boxes=self.boxes.take(indices),
            masks=self.masks.take(indices),
            no_truth=self.no_truth[indices],
            no_boxes=self.no_boxes[indices],
            no_masks=self.no_masks[indices],
        )

    @classmethod
    def merged(cls, several: Sequence[ObjectFacts]) -> ObjectFacts:
        return cls(
            boxes=DetectionFacts.merged([each.boxes for each in several]),
            masks=DetectionFacts.merged([each.masks for each in several]),
            no_truth=np.concatenate([each.no_truth for each in several]),
            no_boxes=np.concatenate([each.no_boxes for each in several]),
            no_masks=np.concatenate([each.no_masks for each in several]),
        )


class DetectionMeasure:
    """Of the column `boxes`. Where predictions have masks, and the truth too, their numbers are called `mask_…`."""

    prediction_columns = ("boxes",)
    optional_columns: tuple[str, ...] = ()
    truth_column = "boxes"

    def __init__(self, labels: tuple[str, ...] | None = None) -> None:
        self._classes = Classes(labels)
        self._reasons: dict[str, str] = {}

    def facts(self, rows: pa.Table) -> ObjectFacts:
        found = read_found(rows.column("boxes"), self._classes)
        truth = read_true(rows.column("truth"), self._classes, masks=_has_masks(rows.column("boxes").type))
        for what, boxes in (("truth", truth), ("boxes", found)):
            if boxes.reason is not None:
                self._reasons.setdefault(what, boxes.reason)
        refused = found.is_refused | truth.is_refused
        no_masks = ~(found.has_masks & truth.has_masks & _same_sizes(found, truth, rows.num_rows))
        return ObjectFacts(
            boxes=_box_facts(_without(found, refused), _without(truth, refused), rows.num_rows),
            masks=_mask_facts(_without(found, refused | no_masks), _without(truth, refused | no_masks), rows.num_rows),
            no_truth=truth.is_refused,
            no_boxes=found.is_refused & ~truth.is_refused,
            no_masks=no_masks & ~refused,
        )

    def tally(self, *, is_resample: bool = False, share: int = 1) -> DetectionTally:
        return DetectionTally(self._classes.names, self._reasons, share=share)


class DetectionTally:
    """Sums of boxes and of masks. `names` and `reasons` are the measure's, and grow as facts are made."""

    def __init__(self, names: Sequence[str], reasons: dict[str, str], *, share: int) -> None:
        self._names = names
        self._reasons = reasons
        self._boxes = DetectionSums(most=MOST_EXACT // share, bins=BINS // share)
        self._masks = DetectionSums(most=MOST_EXACT // share, bins=BINS // share)
        self._left_out = {"truth": 0, "boxes": 0, "masks": 0}

    def add(self, facts: ObjectFacts, weights: NDArray[np.int64] | None = None) -> None:
        self._boxes.add(facts.boxes, weights)
        self._masks.add(facts.masks, weights)
        for what, flags in (("truth", facts.no_truth), ("boxes", facts.no_boxes), ("masks", facts.no_masks)):
            self._left_out[what] += int(np.dot(flags, np.ones(len(flags), np.int64) if weights is None else weights))

    def values(self) -> list[Value]:
        boxes, masks = self._boxes.classes(), self._masks.classes()
        has_masks = any(result.expected[0] for result in masks.values())
        both = [("", boxes), *([("mask_", masks)] if has_masks else [])]
        whole = [value for prefix, results in both for value in _whole(prefix, list(results.values()))]
        return whole + [
            replace(value, label=self._names[label])
            for label in sorted(boxes, key=lambda label: self._names[label])
            for prefix, results in both
            if label in results
            for value in _whole(prefix, [results[label]])
            if value.metric.removeprefix("mask_") in OF_A_CLASS
        ]

    def confusion(self) -> list[ConfusionCell]:
        """None: what a box that is not there is taken for has no answer in COCO's numbers."""
        return []

    def curves(self) -> list[Curve]:
        """Precision over recall of boxes at an IoU of 0.5: the mean of all classes, then each."""
        curves = self._boxes.curves()
        named = [
            Curve(kind="precision_recall", x=RECALLS, y=precision, thresholds=score, label=self._names[label])
            for label, (precision, score) in sorted(curves.items(), key=lambda each: self._names[each[0]])
        ]
        if not named:
            return []
        mean = np.mean([curve.y for curve in named], axis=0)
        nowhere = np.full(len(RECALLS), np.nan)
        return [Curve(kind="precision_recall", x=RECALLS, y=mean, thresholds=nowhere), *named]

    def notes(self) -> list[str]:
        notes = []
        if count := self._left_out["truth"]:
            notes.append(f"{count:,} images are not measured, their truth is not understood: {self._reasons['truth']}")
        if count := self._left_out["boxes"]:
            notes.append(f"{count:,} images are not measured, their boxes are not understood: {self._reasons['boxes']}")
        masks = self._masks.classes().values()
        if (count := self._left_out["masks"]) and any(result.expected[0] for result in masks):
            notes.append(f"{count:,} images have no masks, or of another size than the truth's: not in mask_ metrics")
        error = max((each.precision_error for each in (*self._boxes.classes().values(), *masks)), default=0.0)
        if error:
            notes.append(
                f"there are too many objects to hold: scores are binned, precisions within {error:.1g} of exact"
            )
        return notes


def _has_masks(column: pa.DataType) -> bool:
    """Whether the structs of lists have masks."""
    return bool(column.value_type.get_field_index("mask_rle") >= 0)


def _whole(prefix: str, results: Sequence[ClassResult]) -> Iterator[Value]:
    """COCO's twelve numbers over some classes: the mean over thresholds and over those with anything to find."""
    expected = np.sum([result.expected for result in results], axis=0) if results else np.zeros(len(AREAS), np.int64)
    for metric, (area, thresholds) in PRECISIONS.items():
        value = _mean([result.precision[area, thresholds] for result in results])
        yield Value(metric=prefix + metric, value=value, support=int(expected[area]))
    for metric, (most, area) in RECALL_METRICS.items():
        value = _mean([result.recall[most, area] for result in results])
        yield Value(metric=prefix + metric, value=value, support=int(expected[area]))


def _mean(values: Sequence[NDArray[np.float64]]) -> float | None:
    """Of those that are numbers; None where none is."""
    known = np.concatenate(values) if values else np.empty(0)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else None


def _without(boxes: Boxes, images: NDArray[np.bool_]) -> Boxes:
    """The objects of all but some images."""
    return replace(boxes, objects=boxes.objects.take(np.flatnonzero(~images[boxes.objects.image])))


def _same_sizes(found: Boxes, truth: Boxes, images: int) -> NDArray[np.bool_]:
    """Whether all masks of an image have equally many pixels (images,)."""
    image = np.concatenate([found.objects.image, truth.objects.image])
    pixels = np.concatenate([found.masks.pixels[found.objects.mask], truth.masks.pixels[truth.objects.mask]])
    least, most = np.full(images, np.iinfo(np.int64).max), np.zeros(images, np.int64)
    np.minimum.at(least, image, pixels)
    np.maximum.at(most, image, pixels)
    same: NDArray[np.bool_] = least >= most
    return same


def _box_facts(found: Boxes, truth: Boxes, images: int) -> DetectionFacts:
    objects = replace(found.objects, area=box_area(found.objects.edges))
    return DetectionFacts.of(judge(objects, truth.objects, box_overlap), images)


def _mask_facts(found: Boxes, truth: Boxes, images: int) -> DetectionFacts:
    objects = replace(found.objects, area=found.masks.area[found.objects.mask].astype(np.float64))
    return DetectionFacts.of(judge(objects, truth.objects, MaskOverlap(found=found.masks, truth=truth.masks)), images)
