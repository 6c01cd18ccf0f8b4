"""A picture in tiles: the weighted mean of what the model says of each, whatever the batches and stripes."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from vision_batch.images.tiles import cut_tile, tiles_along
from vision_batch.models import tile_blend
from vision_batch.models.tile_blend import TileBlend, stripes

TILE_PX, CLASSES = 16, 5


class Model(torch.nn.Module):
    """What it says of a pixel depends on what is around it, and it answers at half the size."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, classes, 5, stride=2, padding=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images)


def no_check(outputs: Any) -> None:
    """Another test's concern."""


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tensor(tile: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(tile).permute(2, 0, 1)[None] / 255


def blended(pixels: np.ndarray, *, overlap: float, batch: int = 3, classes: int = CLASSES) -> np.ndarray:
    height, width = pixels.shape[:2]
    down, across = tiles_along(height, TILE_PX, overlap), tiles_along(width, TILE_PX, overlap)
    blend = TileBlend(Model(classes), TILE_PX, check=no_check)
    masks = []
    with torch.inference_mode():
        for stripe in stripes(down, across, height=height, width=width, classes=classes):
            blend.begin(stripe)
            spots = iter(stripe.spots)
            while several := list(islice(spots, batch)):
                tiles = [cut_tile(pixels, down.starts[y], across.starts[x], TILE_PX) for y, x in several]
                assert blend(torch.cat([tensor(tile) for tile in tiles])).item()
            masks.append(blend.mask())
    return np.concatenate(masks, axis=1)


def expected(pixels: np.ndarray, *, overlap: float) -> np.ndarray:
    """All scores of the whole picture at once, in float64; -1 where the best two are too close to say."""
    height, width = pixels.shape[:2]
    down, across = tiles_along(height, TILE_PX, overlap), tiles_along(width, TILE_PX, overlap)
    total = np.zeros((CLASSES, max(height, TILE_PX), max(width, TILE_PX)))
    model = Model()
    for top, down_weights in zip(down.starts, down.weights, strict=True):
        for left, across_weights in zip(across.starts, across.weights, strict=True):
            with torch.inference_mode():
                logits = model(tensor(cut_tile(pixels, top, left, TILE_PX)))
                scores = torch.nn.functional.interpolate(logits, size=(TILE_PX, TILE_PX), mode="bilinear").softmax(1)
            total[:, top : top + TILE_PX, left : left + TILE_PX] += scores[0].numpy() * np.outer(
                down_weights, across_weights
            )
    total = total[:, :height, :width]
    second, best = np.sort(total, axis=0)[-2:]
    return np.where(best - second > 1e-5, total.argmax(axis=0), -1)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 33), (100, 17), (7, 90), (5, 3), (17, 16)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
def test_the_mask_is_that_of_the_weighted_mean(height: int, width: int, overlap: float) -> None:
    pixels = picture(height, width)
    mask, wanted = blended(pixels, overlap=overlap), expected(pixels, overlap=overlap)
    assert mask.shape == (height, width)
    assert mask.dtype == np.uint8
    clear = wanted >= 0
    assert clear.mean() > 0.99
    assert (mask == wanted)[clear].all()


def test_a_picture_of_one_tile_has_the_classes_that_the_model_gives_it() -> None:
    pixels = picture(TILE_PX, TILE_PX)
    with torch.inference_mode():
        logits = torch.nn.functional.interpolate(Model()(tensor(pixels)), size=(TILE_PX, TILE_PX), mode="bilinear")
    assert (blended(pixels, overlap=0.25) == logits[0].argmax(dim=0).numpy()).all()


@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_batches_make_no_difference(batch: int) -> None:
    pixels = picture(60, 50)
    assert (blended(pixels, overlap=0.3, batch=batch) == blended(pixels, overlap=0.3)).mean() > 0.999


@pytest.mark.parametrize("widest_px", [1, 17, 30])
def test_stripes_make_no_difference(widest_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = picture(60, 70)
    whole = blended(pixels, overlap=0.3, batch=1)
    monkeypatch.setattr(tile_blend, "SCORE_BYTES", 4 * CLASSES * TILE_PX * widest_px)
    assert (blended(pixels, overlap=0.3, batch=1) == whole).all()


def test_scores_take_no_more_memory_than_is_said() -> None:
    tiles = tiles_along(100_000, 512, 0.25)
    for stripe in stripes(tiles, tiles, height=100_000, width=100_000, classes=150):
        assert 4 * 150 * 512 * stripe.width <= tile_blend.SCORE_BYTES


def test_masks_of_many_classes_have_16_bits() -> None:
    mask = blended(picture(20, 40), overlap=0.25, classes=300)
    assert mask.dtype == np.uint16
    assert mask.max() >= 256


def test_what_is_not_finite_is_told() -> None:
    model = Model()
    torch.nn.init.constant_(model.layer.bias, torch.nan)
    blend = TileBlend(model, TILE_PX, check=no_check)
    tiles = tiles_along(16, 16, 0)
    (stripe,) = stripes(tiles, tiles, height=16, width=16, classes=CLASSES)
    blend.begin(stripe)
    with torch.inference_mode():
        assert not blend(tensor(picture(16, 16))).item()
