"""Polygons and runs of COCO's annotations become the pixels that pycocotools makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from vision_batch.tasks.coco_mask import mask_counts
from vision_batch.tasks.rle import decode, lengths_of

HEIGHT, WIDTH = 23, 31
coordinates = st.floats(-8, 40, width=32) | st.integers(0, 31).map(float)
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9).map(
    lambda points: [number for point in points for number in point]
)


def drawn(segmentation: Any) -> NDArray[np.uint8]:
    """By pycocotools."""
    runs = coco_mask.frPyObjects(segmentation, HEIGHT, WIDTH)
    return decode((coco_mask.merge(runs) if isinstance(runs, list) else runs)["counts"].decode(), HEIGHT, WIDTH)


@given(st.lists(polygons, min_size=1, max_size=3))
def test_polygons_cover_the_same_pixels(segmentation: list[list[float]]) -> None:
    ours = decode(mask_counts(segmentation, HEIGHT, WIDTH), HEIGHT, WIDTH)
    np.testing.assert_array_equal(ours, drawn(segmentation))


@given(st.lists(st.integers(0, 60), max_size=12))
def test_runs_are_the_same_compressed_or_not(lengths: list[int]) -> None:
    counts = [*lengths, HEIGHT * WIDTH - sum(lengths)] if sum(lengths) <= HEIGHT * WIDTH else [HEIGHT * WIDTH]
    segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    ours = mask_counts(segmentation, HEIGHT, WIDTH)
    np.testing.assert_array_equal(decode(ours, HEIGHT, WIDTH), drawn(segmentation))
    assert mask_counts({"size": [HEIGHT, WIDTH], "counts": ours}, HEIGHT, WIDTH) == ours
    assert lengths_of(ours).sum() == HEIGHT * WIDTH


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        None,
        "text",
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [["a"] * 6],
        [[0, 0, 1e7, 5, 0, 9]],
        [[float("nan")] * 6],
        [[[1, 2], [3]]],
        {"counts": [5]},
        {"counts": [-1, HEIGHT * WIDTH + 1]},
        {"counts": "!"},
        {"size": [1, 1]},
    ],
)
def test_what_is_no_mask_is_refused(segmentation: Any) -> None:
    with pytest.raises(ValueError, match=r"no polygon|a polygon with points farther|no runs|runs have"):
        mask_counts(segmentation, HEIGHT, WIDTH)
