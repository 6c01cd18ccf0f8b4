"""COCO's own evaluation of the same objects, by pycocotools: what the measures of detection are held to."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vision_batch.evaluation.objects import Objects

TWELVE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def coco_evaluation(
    found: Objects,
    truth: Objects,
    *,
    images: int,
    labels: int,
    size: tuple[int, int] = (512, 512),
    masks: tuple[Sequence[str], Sequence[str]] | None = None,
) -> COCOeval:
    """By boxes, or by the `masks` (compressed counts) of what was found and of the truth.

    Evaluated and accumulated; `precision` is (10, 101, labels, 4, 3), `stats` the twelve numbers.
    """
    found_masks, true_masks = masks or (None, None)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image + 1, "height": size[0], "width": size[1]} for image in range(images)],
            "categories": [{"id": label + 1, "name": str(label)} for label in range(labels)],
            "annotations": [
                {"id": number + 1, "iscrowd": int(truth.is_crowd[number]), "area": truth.area[number]}
                | _object(truth, number, size, true_masks)
                for number in range(len(truth))
            ],
        }
        coco.createIndex()
        results: list[dict[str, Any]] = []
        for number in range(len(found)):
            result = {"score": float(found.score[number])} | _object(found, number, size, found_masks)
            if masks:
                del result["bbox"]
            results.append(result)
        detections = coco.loadRes(results) if results else _nothing(coco)
        evaluation = COCOeval(coco, detections, "segm" if masks else "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def class_precision(evaluation: COCOeval, label: int) -> NDArray[np.float64]:
    """(4 areas, 10 thresholds), nan where there is none."""
    precision = evaluation.eval["precision"][:, :, label, :, 2].transpose(2, 0, 1)
    return np.where(precision[:, :, 0] < 0, np.nan, precision.mean(axis=2))


def class_recall(evaluation: COCOeval, label: int) -> NDArray[np.float64]:
    """(3 numbers of objects, 4 areas, 10 thresholds), nan where there is none."""
    recall = evaluation.eval["recall"][:, label].transpose(2, 1, 0)
    return np.where(recall < 0, np.nan, recall)


def _object(objects: Objects, number: int, size: tuple[int, int], masks: Sequence[str] | None) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = objects.edges[number].tolist()
    known = {
        "image_id": int(objects.image[number]) + 1,
        "category_id": int(objects.label[number]) + 1,
        "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
    }
    if masks is not None:
        known["segmentation"] = {"size": list(size), "counts": masks[objects.mask[number]]}
    return known


def _nothing(coco: COCO) -> COCO:
    detections = COCO()
    detections.dataset = {"images": coco.dataset["images"], "categories": coco.dataset["categories"], "annotations": []}
    detections.createIndex()
    return detections
