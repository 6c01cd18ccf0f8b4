"""Tiles cover a picture, overlap as asked, and their weights are shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.images.tiles import cut_tile, tiles_along

SIZES = st.integers(1, 3000)
TILES = st.integers(8, 700)
OVERLAPS = st.floats(0, 0.75)


@given(SIZES, TILES, OVERLAPS)
def test_weights_of_every_pixel_sum_to_one(size: int, tile_px: int, overlap: float) -> None:
    tiles = tiles_along(size, tile_px, overlap)
    total = np.zeros(max(size, tile_px))
    for start, weights in zip(tiles.starts, tiles.weights, strict=True):
        total[start : start + tile_px] += weights
    assert total[:size] == pytest.approx(1)
    assert not total[size:].any()


@given(SIZES, TILES, OVERLAPS)
def test_tiles_lie_within_the_picture_and_share_what_is_asked(size: int, tile_px: int, overlap: float) -> None:
    starts = tiles_along(size, tile_px, overlap).starts
    assert starts[0] == 0
    assert starts[-1] == max(0, size - tile_px)
    distances = np.diff(starts)
    assert (distances > 0).all()
    assert (distances <= max(1, int(tile_px * (1 - overlap)) + 1)).all()  # rounded to whole pixels
    if len(starts) > 1:
        assert (len(starts) - 2) * max(1, int(tile_px * (1 - overlap))) < size - tile_px, "one tile less would do"


def test_without_an_overlap_tiles_count_alike() -> None:
    tiles = tiles_along(300, 100, 0)
    assert tiles.starts == (0, 100, 200)
    assert (tiles.weights == 1).all()


def test_a_tile_counts_less_towards_what_it_shares() -> None:
    first, second = tiles_along(150, 100, 0.5).weights
    assert first[:50].tolist() == [1] * 50
    assert (np.diff(first[50:]) < 0).all()
    assert second[:50] == pytest.approx(1 - first[50:])


def test_a_tile_repeats_the_edge_where_the_picture_ends() -> None:
    pixels = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    tile = cut_tile(pixels, 2, 1, 8)
    assert tile.shape == (8, 8, 3)
    assert (tile[:3, :5] == pixels[2:, 1:]).all()
    assert (tile[3:, 0] == pixels[4, 1]).all()
    assert (tile[0, 5:] == pixels[2, 5]).all()
