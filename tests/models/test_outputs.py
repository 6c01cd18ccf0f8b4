"""Parts of a batch's outputs, and batches together, in every structure that a module may answer in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vision_batch.models.outputs import joined, picked, size_bytes


def answer(seed: int) -> dict[str, Any]:
    """Of one image: as many boxes as the seed says."""
    return {"boxes": np.full((seed, 4), seed), "scores": np.full(seed, seed)}


STRUCTURES: dict[str, Any] = {
    "array": np.arange(12).reshape(4, 3),
    "dict": {"logits": np.arange(8).reshape(4, 2), "boxes": np.arange(16).reshape(4, 1, 4)},
    "dict in list": {"more": [np.arange(4), np.arange(8).reshape(4, 2)]},
    "list of dicts": [answer(seed) for seed in (2, 0, 3, 1)],
}


@pytest.mark.parametrize("outputs", STRUCTURES.values(), ids=STRUCTURES)
def test_what_is_cut_and_joined_again_is_the_same(outputs: Any) -> None:
    batches = [picked(outputs, slice(0, 1)), picked(outputs, slice(1, 4))]
    np.testing.assert_equal(joined(batches), outputs)


@pytest.mark.parametrize("outputs", STRUCTURES.values(), ids=STRUCTURES)
def test_bools_pick_the_same_as_the_images_one_by_one(outputs: Any) -> None:
    chosen = picked(outputs, np.array([True, False, False, True]))
    np.testing.assert_equal(chosen, joined([picked(outputs, slice(0, 1)), picked(outputs, slice(3, 4))]))


def test_of_a_list_of_dicts_whole_images_are_picked() -> None:
    boxes = [answer(seed) for seed in (5, 2, 7)]
    assert picked(boxes, slice(2)) == boxes[:2]


def test_what_has_no_row_for_each_image_stays() -> None:
    outputs = {"logits": np.zeros((3, 2)), "anchors": np.zeros((7, 4)), "loss": np.array(0.5)}
    chosen = picked(outputs, np.array([True, False, True]))
    assert {name: value.shape for name, value in chosen.items()} == {"logits": (2, 2), "anchors": (7, 4), "loss": ()}
    assert picked(outputs, slice(2))["loss"] == joined([outputs, outputs])["loss"] == 0.5


def test_their_size_is_that_of_all_arrays() -> None:
    assert size_bytes([answer(2), {"more": (np.zeros(3), [np.zeros(1)])}]) == 8 * (8 + 2 + 3 + 1)
