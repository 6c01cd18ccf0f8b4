"""Boxes as targets: what goes in comes out, however many each image has."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vision_batch.errors import ImageError
from vision_batch.images.example import Example
from vision_batch.tasks.box_targets import box_names, box_target, packed, stacked, unpacked

BOX = {"label": "cat", "x_min": 1, "y_min": 2, "x_max": 3.5, "y_max": 4}
LABELS = ("cat", "dog")

images = st.lists(
    st.integers(0, 3).flatmap(
        lambda count: st.tuples(
            npst.arrays(np.float32, (count, 4), elements=st.floats(0, 1e4, width=32)),
            npst.arrays(np.int64, count, elements=st.integers(0, 100_000)),
        )
    ),
    max_size=4,
)


def example(boxes: np.ndarray, labels: np.ndarray) -> Example:
    pixels = np.zeros((8, 8, 3), np.uint8)
    return Example(pixels=pixels, mask=None, boxes=boxes, box_labels=labels, width=8, height=8)


@given(said=images, more=st.integers(0, 2))
def test_a_module_gets_the_boxes_of_each_image_and_none_for_an_image_that_stands_for_none(
    said: list[tuple[np.ndarray, np.ndarray]], more: int
) -> None:
    targets = packed([example(*each) for each in said])
    assert targets.shape == (len(said), max((len(labels) for _, labels in said), default=0), 5)
    given = unpacked(torch.from_numpy(targets), len(said) + more)
    assert len(given) == len(said) + more
    for target, (boxes, labels) in zip(given, said, strict=False):
        assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
        np.testing.assert_array_equal(target["boxes"], boxes)
        np.testing.assert_array_equal(target["labels"], labels)
    assert [target["boxes"].shape for target in given[len(said) :]] == [(0, 4)] * more


@given(said=images.filter(bool))
def test_batches_are_stacked_of_images_that_were_collated_apart(said: list[tuple[np.ndarray, np.ndarray]]) -> None:
    whole = packed([example(*each) for each in said])
    apart = stacked([packed([example(*each)])[0] for each in said])
    np.testing.assert_array_equal(whole, apart)


def test_targets_of_equal_shape_are_stacked_as_they_are() -> None:
    assert stacked([np.asarray(3), np.asarray(4)]).tolist() == [3, 4]
    assert stacked([np.zeros((2, 2), np.uint8)] * 3).shape == (3, 2, 2)


def test_a_label_names_its_classes_once_and_a_crowd_is_not_to_be_found() -> None:
    truth = json.dumps([BOX, {**BOX, "label": "dog", "is_crowd": True}, {**BOX, "x_max": 5}])
    assert box_names(truth) == LABELS
    annotation = box_target(truth, LABELS).annotation
    assert annotation is not None
    assert annotation.boxes is not None
    assert annotation.box_labels is not None
    assert annotation.boxes.tolist() == [[1, 2, 3.5, 4], [1, 2, 5, 4]]
    assert annotation.box_labels.tolist() == [0, 0]


def test_an_image_without_boxes_has_a_target_too() -> None:
    annotation = box_target([], LABELS).annotation
    assert annotation is not None
    assert annotation.boxes is not None
    assert annotation.boxes.shape == (0, 4)


def test_a_box_of_no_class_is_the_images_fault() -> None:
    with pytest.raises(ImageError, match="no class is called 'cow'"):
        box_target([BOX, {**BOX, "label": "cow"}], LABELS)
