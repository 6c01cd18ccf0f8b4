"""The forms in which detectors answer, and what is said of those that fit none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vision_batch.errors import ModelError
from vision_batch.tasks.detector_answer import Found, answers, found_in
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import task_for

LABELS = ("cat", "dog")
MODEL_PX = (20, 10)


def listed(**changed: Any) -> dict[str, Any]:
    """Two boxes of one image."""
    answer = {
        "boxes": np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.float32),
        "scores": np.array([0.5, 0.75], np.float32),
        "labels": np.array([1, 0]),
    }
    return answer | changed


def queries(count: int = 1, **changed: Any) -> dict[str, Any]:
    """Three queries for each image."""
    random = np.random.default_rng(0)
    answer = {
        "logits": random.normal(size=(count, 3, 3)).astype(np.float32),
        "pred_boxes": random.random((count, 3, 4), np.float32),
    }
    return answer | changed


def found(outputs: Any) -> list[Found]:
    return [found_in(answer, MODEL_PX, masks=False) for answer in answers(outputs)]


def check(outputs: Any, count: int = 1, *, masks: bool = False, labels: tuple[str, ...] | None = LABELS) -> None:
    task_for(TaskSettings(type="detection", masks=masks), labels).check(outputs, count)


class TestForms:
    def test_scores_that_rounding_took_beyond_their_range_are_put_back(self) -> None:
        outputs = [listed(scores=np.array([1.0005, -0.0005], np.float32))]
        check(outputs)
        assert found(outputs)[0].scores.tolist() == [1, 0]

    def test_a_list_has_a_dict_for_each_image(self) -> None:
        empty = {"boxes": np.empty(0, np.float32), "scores": np.empty(0, np.float32), "labels": np.empty(0)}
        check([listed(), empty], 2)
        first, second = found([listed(), empty])
        assert first.boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert (first.scores.tolist(), first.labels.tolist()) == ([0.5, 0.75], [1, 0])
        assert second.boxes.shape == (0, 4)

    def test_a_dict_has_them_stacked_as_exported_programs_give_them(self) -> None:
        stacked = {name: np.stack([value, value]) for name, value in listed().items()}
        check(stacked, 2)
        for one, other in zip(found(stacked), found([listed(), listed()]), strict=True):
            assert one.boxes.tolist() == other.boxes.tolist()

    def test_queries_have_the_softmax_of_their_best_class_and_a_relative_box(self) -> None:
        outputs = queries(2, pred_boxes=np.full((2, 3, 4), 0.5, np.float32))
        check(outputs, 2)
        shares = torch.from_numpy(outputs["logits"]).softmax(dim=-1)[..., :-1]
        for index, image in enumerate(found(outputs)):
            best = shares[index].max(dim=-1)
            assert image.scores == pytest.approx(best.values.numpy(), abs=1e-6)
            assert image.labels.tolist() == best.indices.tolist()
            assert image.boxes.tolist() == [[2.5, 5, 7.5, 15]] * 3

    def test_what_scores_too_little_to_be_listed_may_have_no_class(self) -> None:
        """Answers of a fixed size are filled up with such boxes."""
        check([listed(scores=np.array([0.0, 0.75], np.float32), labels=np.array([-1, 0]))])

    def test_masks_with_a_channel_are_masks_as_torchvision_gives_them(self) -> None:
        masks = np.random.default_rng(0).random((2, 1, 3, 4), np.float32)
        outputs = [listed(masks=masks)]
        check(outputs, masks=True)
        (answer,) = answers(outputs)
        assert (found_in(answer, MODEL_PX, masks=True).masks == masks[:, 0]).all()

    def test_masks_of_no_form_matter_only_where_they_are_asked_for(self) -> None:
        ragged = [np.zeros((3, 4)), np.zeros((3, 4))]
        stacked = {name: value[None] for name, value in listed().items()} | {"masks": [ragged]}
        for outputs in ([listed(masks=ragged)], stacked):
            check(outputs)
            with pytest.raises(ModelError, match="the model returned masks, none"):
                check(outputs, masks=True)

    def test_what_else_a_model_returns_is_passed_over(self) -> None:
        check(queries(last_hidden_state=np.zeros((1, 3, 8)), encoder=[np.zeros(3)]))
        check([listed(logits=np.zeros((5, 5)), area=np.zeros(3))])


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        (np.zeros((1, 5)), "a ndarray; detection needs a list with a dict for each image"),
        ([np.zeros((1, 4))], "a list of 1; detection needs"),
        ({"boxes": np.zeros((1, 2, 4))}, "a dict with boxes; detection needs"),
        ([listed()] * 2, "boxes for 2 images, and it was given 1"),
        ([listed(boxes=np.zeros((3, 4), np.float32))], r"boxes, float32 of shape \(3, 4\).*boxes \(2, 4\)"),
        ([listed(boxes=np.zeros((0, 4), np.float32))], r"boxes, float32 of shape \(0, 4\).*boxes \(2, 4\)"),
        ([listed(boxes=np.zeros((2, 4), np.int64))], "boxes, int64"),
        ([listed(scores=np.zeros((2, 1), np.float32))], r"scores, float32 of shape \(2, 1\)"),
        ([listed(labels=np.zeros(2, np.float32))], "labels, float32 of shape"),
        ([listed(labels=np.array([0, 2]))], "labels from 0 to 2, and model.labels has 2 names; .* counted from 0"),
        ([listed(labels=np.array([-1, 0]))], "labels from -1 to 0"),
        (queries(logits=np.zeros((1, 3, 2), np.float32)), "logits for 1 classes .* model.labels has 2"),
        (queries(logits=np.zeros((1, 3, 1), np.float32)), r"logits, float32 of shape \(3, 1\) an image"),
        (queries(logits=np.zeros(1, np.float32)), "detection needs"),
        (queries(pred_boxes=np.zeros((1, 2, 4), np.float32)), r"boxes, float32 of shape \(2, 4\).*\(3, 4\)"),
    ],
)
def test_what_does_not_fit_is_told(outputs: Any, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        check(outputs)


@pytest.mark.parametrize("masks", [None, np.zeros((1, 4, 4)), np.zeros((2, 16)), np.zeros((2, 0, 4))])
def test_masks_are_demanded_where_they_are_asked_for(masks: Any) -> None:
    outputs = [listed() if masks is None else listed(masks=masks)]
    check(outputs)
    with pytest.raises(ModelError, match=r"task.masks needs masks \(2, h, w\), one for each box"):
        check(outputs, masks=True)


def test_without_labels_any_class_is_one() -> None:
    check([listed(labels=np.array([70, 3]))], labels=None)
    with pytest.raises(ModelError, match="labels from -1 to 0; labels are class indices"):
        check([listed(labels=np.array([-1, 0]))], labels=None)
