"""Masks of single things, from the places of a model's mask to the pixels of the full image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vision_batch.images.geometry import Geometry
from vision_batch.tasks import instance_mask
from vision_batch.tasks.instance_mask import full_rle
from vision_batch.tasks.rle import area, decode
from vision_batch.tasks.task import View


def stretched(width: int, height: int, model_px: tuple[int, int]) -> View:
    """The whole image, stretched to the model's input."""
    scale_x, scale_y = width / model_px[1], height / model_px[0]
    return View(width=width, height=height, geometry=Geometry(scale_x=scale_x, scale_y=scale_y, offset_x=0, offset_y=0))


def full(mask: NDArray[np.generic], view: View, model_px: tuple[int, int]) -> NDArray[np.uint8]:
    return decode(full_rle(mask, view, model_px), view.height, view.width)


def blob(seed: int, height: int, width: int) -> NDArray[np.float32]:
    """Probabilities of something small, nearly none elsewhere."""
    random = np.random.default_rng(seed)
    mask = np.full((height, width), 0.01, np.float32)
    top, left = random.integers(0, height), random.integers(0, width)
    window = mask[top : top + random.integers(1, height + 1), left : left + random.integers(1, width + 1)]
    window[:] = random.random(window.shape)
    return mask


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.integers(1, 60), st.integers(1, 60))
def test_probabilities_are_interpolated_as_torch_does(seed: int, h: int, w: int, height: int, width: int) -> None:
    mask = blob(seed, h, w)
    scores = torch.nn.functional.interpolate(torch.from_numpy(mask)[None, None], size=(height, width), mode="bilinear")
    undecided = np.abs(scores[0, 0].numpy() - 0.5) < 0.02  # OpenCV rounds places to 1/32 of a pixel
    expected = scores[0, 0].numpy() > 0.5
    found = full(mask, stretched(width, height, (32, 48)), (32, 48))
    assert ((found == expected) | undecided).all()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_a_mask_as_large_as_the_image_comes_back_as_it_was(dtype: type) -> None:
    mask = (np.random.default_rng(0).random((30, 40)) < 0.3).astype(dtype)
    assert (full(mask, stretched(40, 30, (30, 40)), (30, 40)) == mask).all()


def test_what_the_model_did_not_see_is_not_the_things() -> None:
    cropped = View(width=8, height=4, geometry=Geometry(scale_x=1, scale_y=1, offset_x=2, offset_y=1))
    expected = np.zeros((4, 8))
    expected[1:3, 2:6] = 1
    assert full(np.ones((2, 4)), cropped, (2, 4)).tolist() == expected.tolist()


def test_what_lies_on_a_letterboxs_bars_is_not_in_the_image() -> None:
    barred = View(width=8, height=4, geometry=Geometry(scale_x=1, scale_y=1, offset_x=0, offset_y=-2))
    assert full(np.ones((4, 4)), barred, (8, 8)).all()
    bars_alone = np.zeros((8, 8))
    bars_alone[:2] = bars_alone[6:] = 1
    assert area(full_rle(bars_alone, barred, (8, 8))) == 0


def test_a_mask_of_nothing_has_no_pixel() -> None:
    assert area(full_rle(np.full((4, 4), 0.5, np.float32), stretched(9, 7, (4, 4)), (4, 4))) == 0


def test_a_place_that_is_as_likely_as_not_is_not_the_things() -> None:
    mask = np.array([[0.5, 0.5], [0.5, 0.75]], np.float32)
    assert full(mask, stretched(2, 2, (2, 2)), (2, 2)).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("strip_px", [1, 100, 5000])
def test_a_large_image_in_strips_is_the_same(monkeypatch: pytest.MonkeyPatch, strip_px: int) -> None:
    mask = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    view = View(width=301, height=203, geometry=Geometry(scale_x=18, scale_y=12, offset_x=3, offset_y=-5))
    whole = full(mask, view, (16, 16))
    monkeypatch.setattr(instance_mask, "STRIP_PIXELS", strip_px)
    assert (full(mask, view, (16, 16)) == whole).mean() > 0.9999


@pytest.mark.parametrize(("width", "height"), [(3, 40_000), (40_000, 3)])
def test_a_very_long_image_has_its_mask(width: int, height: int) -> None:
    assert full(np.ones((4, 4)), stretched(width, height, (4, 4)), (4, 4)).all()
