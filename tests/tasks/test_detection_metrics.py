"""Average precision while a model learns: COCO's, however the images are shared among workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vision_batch.errors import ModelError
from vision_batch.tasks.box_targets import stacked
from vision_batch.tasks.detection import Detection
from vision_batch.tasks.detection_metrics import MOST_BINS
from vision_batch.tasks.task import Predicted

LABELS = ("a", "b", "c")
SIDE_PX = 64
IMAGES = 24


def task() -> Detection:
    return Detection(score_threshold=0.0, nms_iou=None, max_boxes=100, masks=False, labels=LABELS)


def boxes_of(rng: np.random.Generator, count: int) -> np.ndarray:
    low = rng.uniform(0, SIDE_PX - 20, (count, 2))
    return np.concatenate([low, low + rng.uniform(8, 20, (count, 2))], axis=1).astype(np.float32)


def scenes(seed: int) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    """Truths (K, 5), and predictions near some of them and elsewhere, each with a score, and a bin, of its own."""
    rng = np.random.default_rng(seed)
    scores = iter((rng.permutation(MOST_BINS) + 0.5) / MOST_BINS)
    truths, predictions = [], []
    for _ in range(IMAGES):
        boxes = boxes_of(rng, int(rng.integers(0, 4)))
        labels = rng.integers(0, 2, len(boxes))  # none of class c
        truths.append(np.column_stack([labels, boxes]).astype(np.float32))
        near = np.repeat(boxes, 2, axis=0) + rng.normal(0, 2, (2 * len(boxes), 4)).astype(np.float32)
        found = np.concatenate([near, boxes_of(rng, 2)]).clip(0, SIDE_PX)
        said = np.concatenate([np.repeat(labels, 2), rng.integers(0, 3, 2)])
        keep = rng.random(len(found)) < 0.7
        listed = {"boxes": found[keep], "labels": said[keep]}
        predictions.append({**listed, "scores": np.array([next(scores) for _ in said[keep]], np.float32)})
    return truths, predictions


def measured(truths: list[np.ndarray], predictions: list[dict[str, np.ndarray]]) -> dict[str, float]:
    metrics = task().metrics()
    outputs = Predicted(outputs=predictions, model_px=(SIDE_PX, SIDE_PX))
    metrics.update(outputs, torch.from_numpy(stacked(truths)))
    return metrics.result(metrics.state())


def of_coco(truths: list[np.ndarray], predictions: list[dict[str, np.ndarray]]) -> tuple[float, float]:
    """AP at an IoU of 0.5, and the recall of all boxes together."""
    coco = COCO()
    sides = [(row, image) for image, truth in enumerate(truths) for row in truth]
    coco.dataset = {
        "images": [{"id": image} for image in range(len(truths))],
        "categories": [{"id": index} for index in range(len(LABELS))],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": int(row[0]),
                "bbox": [*row[1:3].tolist(), *(row[3:] - row[1:3]).tolist()],
                "area": float((row[3:] - row[1:3]).prod()),
                "iscrowd": 0,
            }
            for number, (row, image) in enumerate(sides, start=1)
        ],
    }
    coco.createIndex()
    rows = [
        [image, *box[:2], *(box[2:] - box[:2]), score, label]
        for image, found in enumerate(predictions)
        for box, score, label in zip(found["boxes"], found["scores"], found["labels"], strict=True)
    ]
    judged = COCOeval(coco, coco.loadRes(np.array(rows)), "bbox")
    judged.params.iouThrs = np.array([0.5])
    judged.evaluate()
    judged.accumulate()
    precision, recall = judged.eval["precision"][0, :, :, 0, -1], judged.eval["recall"][0, :, 0, -1]
    counts = np.bincount([int(row[0]) for row, _ in sides], minlength=len(LABELS))
    return float(precision[precision > -1].mean()), float((recall.clip(0) * counts).sum() / counts.sum())


@pytest.mark.parametrize("seed", range(5))
def test_it_is_cocos_where_every_score_has_a_bin_of_its_own(seed: int) -> None:
    truths, predictions = scenes(seed)
    precision, recall = of_coco(truths, predictions)
    found = measured(truths, predictions)
    assert found["mean_average_precision_50"] == pytest.approx(precision, abs=1e-6)
    assert found["recall_50"] == pytest.approx(recall, abs=1e-9)
    assert 0.2 < precision < 0.9


def test_states_of_workers_add_up() -> None:
    truths, predictions = scenes(0)
    whole, *shares = (task().metrics() for _ in range(4))
    targets = torch.from_numpy(stacked(truths))
    whole.update(Predicted(outputs=predictions, model_px=(SIDE_PX, SIDE_PX)), targets)
    for rank, share in enumerate(shares):
        outputs = Predicted(outputs=predictions[rank::3], model_px=(SIDE_PX, SIDE_PX))
        share.update(outputs, targets[rank::3])
    np.testing.assert_array_equal(sum(share.state() for share in shares), whole.state())


def test_a_box_is_found_once_and_only_by_its_own_class() -> None:
    box = np.array([[8, 8, 24, 24]], np.float32)
    truth = [np.array([[0, 8, 8, 24, 24]], np.float32)]

    def found(*labels: int) -> dict[str, float]:
        scores = np.linspace(0.9, 0.5, len(labels)).astype(np.float32)
        return measured(
            truth, [{"boxes": np.repeat(box, len(labels), 0), "scores": scores, "labels": np.array(labels)}]
        )

    assert found(0) == found(0, 0) == found(0, 1) == {"mean_average_precision_50": 1.0, "recall_50": 1.0}
    assert found(1) == {"mean_average_precision_50": 0.0, "recall_50": 0.0}
    assert found(1, 0) == {"mean_average_precision_50": 1.0, "recall_50": 1.0}


def test_without_boxes_nothing_is_defined_and_without_predictions_nothing_is_found() -> None:
    none = {"boxes": np.empty((0, 4), np.float32), "scores": np.empty(0, np.float32), "labels": np.empty(0, np.int64)}
    truth = np.array([[0, 1, 1, 9, 9]], np.float32)
    assert measured([np.empty((0, 5), np.float32)], [none]) == {}
    assert measured([truth], [none]) == {"mean_average_precision_50": 0.0, "recall_50": 0.0}


def test_an_image_that_would_have_no_prediction_counts_as_one_without_boxes() -> None:
    boxes = np.array([[0, 0, 8, 8], [16, 16, 24, 24]], np.float32)
    truth = [np.array([[0, 0, 0, 8, 8]], np.float32)]
    for strange in (np.nan, np.inf):
        said = {"boxes": boxes, "scores": np.array([0.9, strange], np.float32), "labels": np.zeros(2, np.int64)}
        if strange == np.inf:
            said = {**said, "boxes": boxes * [[1], [strange]], "scores": np.array([0.9, 0.5], np.float32)}
        assert measured(truth, [said])["recall_50"] == 0.0


@pytest.mark.parametrize("key", ["scores", "labels"])
def test_what_a_predict_job_would_refuse_is_refused_in_every_batch(key: str) -> None:
    """In the first one there may have been no box."""
    said = {"boxes": np.array([[0, 0, 8, 8]], np.float32), "scores": np.float32([0.9]), "labels": np.array([0])}
    truth = [np.array([[0, 0, 0, 8, 8]], np.float32)]
    with pytest.raises(ModelError, match=f"the model returned {key} from 7"):
        measured(truth, [{**said, key: said[key] * 0 + 7}])


def test_boxes_of_detr_are_where_its_input_says() -> None:
    logits = np.array([[[9, 0, 0, 0]]], np.float32)
    outputs = {"logits": logits, "pred_boxes": np.array([[[0.5, 0.25, 0.5, 0.5]]], np.float32)}
    metrics = task().metrics()
    metrics.update(Predicted(outputs=outputs, model_px=(32, 64)), torch.tensor([[[0.0, 16, 0, 48, 16]]]))
    assert metrics.result(metrics.state())["recall_50"] == 1.0


def test_a_state_is_small_with_very_many_classes() -> None:
    many = Detection(score_threshold=0.0, nms_iou=None, max_boxes=9, masks=False, labels=tuple(map(str, range(20_000))))
    assert many.metrics().state().nbytes < 100 << 20
