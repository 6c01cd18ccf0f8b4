"""The section of a page that shows where predictions are most wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.classification_tally import ClassificationFacts
from vision_batch.evaluation.detection import ObjectFacts
from vision_batch.evaluation.join import Joined
from vision_batch.evaluation.multi_label import MultiLabelFacts
from vision_batch.evaluation.score_keys import POSITIVE_BITS, parted_keys
from vision_batch.evaluation.segmentation import MaskFacts
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.evaluation.table import measure_for
from vision_batch.evaluation.truth import open_truth
from vision_batch.ledger.predictions import Predictions
from vision_batch.report.extremes import Extremes
from vision_batch.report.mentions import KINDS
from vision_batch.tasks.box_truth import parse_boxes

MOST: Final = 16
NAMED: Final = ("image_id", "shard", "row", "width", "height")

Wrong = tuple[NDArray[np.int64], NDArray[np.float64]]


def _wrong_labels(facts: ClassificationFacts) -> Wrong:
    """Images whose class is another one, by its score."""
    images = np.flatnonzero(facts.predicted != facts.truth)
    return images, facts.score[images].astype(np.float64)


def _wrong_sets(facts: MultiLabelFacts) -> Wrong:
    """Labels that are not true, by their scores."""
    wrong = facts.keys & POSITIVE_BITS == 0
    images = np.repeat(np.arange(len(facts)), facts.listed)
    return images[wrong], parted_keys(facts.keys[wrong])[1].astype(np.float64)


def _wrong_boxes(facts: ObjectFacts) -> Wrong:
    """Boxes that lie on no object of their class by the first verdict, an IoU of 0.5 at any size, by their scores."""
    boxes = facts.boxes
    right, counted = (np.unpackbits(packed, axis=1)[:, 0] for packed in (boxes.right, boxes.counted))
    wrong = (counted == 1) & (right == 0)
    return boxes.image[wrong], boxes.score[wrong].astype(np.float64)


def _wrong_pixels(facts: MaskFacts) -> Wrong:
    """Images with a wrong pixel, by the share of such pixels."""
    images = len(facts)
    whole = np.bincount(facts.image, facts.pixels, images)
    wrong = np.bincount(facts.image, facts.pixels * (facts.truth != facts.predicted), images)
    some = np.flatnonzero(wrong > 0)
    return some, wrong[some] / whole[some]


WRONG: Final[Mapping[str, Callable[[Any], Wrong]]] = {
    "classification": _wrong_labels,
    "multi_label": _wrong_sets,
    "detection": _wrong_boxes,
    "segmentation": _wrong_pixels,
}
ABOUT: Final[Mapping[str, str]] = {
    "classification": "Wrong labels, the most certain first.",
    "multi_label": "Images with labels that are not true, the most certain of these first.",
    "detection": "Boxes on no object of their label (IoU 0.5), the most certain first. White frames are the truth.",
    "segmentation": "The images with the largest share of wrong pixels first. White lines: the truth.",
}


def worst_rows(
    predictions: Predictions, truth: TruthSettings | None, settings: EvaluateSettings
) -> list[dict[str, Any]]:
    """The rows that are most wrong by the truth, the worst first; none of kinds that have no such thing.

    `truth` as `evaluate` takes it. Memory: that of a batch. SpecError as of `evaluate`.
    """
    if predictions.kind not in WRONG:
        return []
    measure = measure_for(predictions, settings)
    known = predictions.schema.names
    shown = [name for name in (*NAMED, *KINDS[predictions.kind].shown) if name in known]
    needed = ["error_code", *measure.prediction_columns, *shown]
    needed += [name for name in measure.optional_columns if name in known]
    opened = None if truth is None else open_truth(truth, measure.truth_column)
    worst, kept, first = Extremes(MOST), dict[int, dict[str, Any]](), 0
    for rows in Joined(predictions=predictions, columns=list(dict.fromkeys(needed)), truth=opened):
        rows = rows.filter(rows["error_code"].is_null())
        images, keys = WRONG[predictions.kind](measure.facts(rows))
        worst.add(np.zeros(len(images), np.int64), first + images, keys)
        said = rows.select([*shown, "truth"])
        new = [number for number in worst.rows() if number >= first]
        old = {number: kept[number] for number in worst.rows() if number < first}
        kept = old | {number: said.slice(number - first, 1).to_pylist()[0] for number in new}
        first += len(rows)
    return [_with_expected(kept[number], predictions.kind) for number in worst.rows()]


def _with_expected(row: dict[str, Any], kind: str) -> dict[str, Any]:
    """With its true boxes as `expected`, or its true mask as `expected_png`; the measure has understood them."""
    if kind == "detection":
        return {**row, "expected": parse_boxes(row.pop("truth"))}
    return {**row, "expected_png": row.pop("truth")} if kind == "segmentation" else row
