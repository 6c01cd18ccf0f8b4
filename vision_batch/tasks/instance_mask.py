"""From a model's mask of one thing to the pixels of the full image."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.tasks.rle import encode_spans, spans_of
from vision_batch.tasks.task import View

STRIP_PIXELS: Final = 1 << 20
"""Of the full image at once: 4 MB of probabilities."""
LIKELY: Final = 0.5
"""A pixel is the thing's where that is more probable than not."""


def full_rle(mask: NDArray[Any], view: View, model_px: tuple[int, int]) -> str:
    """COCO's text of the full image's pixels that are the thing's.

    `mask` (h, w) are probabilities over the model's whole input of `model_px` (height, width). Between their places
    they are interpolated (bilinear); what the model did not see is not the thing's.
    """
    mask = mask.astype(np.float32, copy=False)
    height, width = mask.shape
    geometry = view.geometry
    scale_x, scale_y = geometry.scale_x * model_px[1] / width, geometry.scale_y * model_px[0] / height
    rows, columns = np.flatnonzero((mask > LIKELY).any(axis=1)), np.flatnonzero((mask > LIKELY).any(axis=0))
    if not len(rows):
        return encode_spans(np.empty((0, 2), np.int64), view.width * view.height)
    left, right = _reach(columns[0], columns[-1], width, view.width, scale_x, geometry.offset_x)
    top, bottom = _reach(rows[0], rows[-1], height, view.height, scale_y, geometry.offset_y)
    spans = [np.empty((0, 2), np.int64)]
    step = max(1, STRIP_PIXELS // max(1, bottom - top))
    for first in range(left, right if top < bottom else left, step):  # of a thing between pixels none is left
        window = _window(
            mask,
            (scale_x, (first + 0.5 - geometry.offset_x) / scale_x - 0.5),
            (scale_y, (top + 0.5 - geometry.offset_y) / scale_y - 0.5),
            (min(step, right - first), bottom - top),
        )
        spans.append(spans_of(window > LIKELY, height=view.height, left=first, top=top))
    return encode_spans(np.concatenate(spans), view.width * view.height)


def _reach(first: int, last: int, places: int, full: int, scale: float, offset: float) -> tuple[int, int]:
    """Along one axis the pixels [from, to) of `full` that likely places from `first` to `last` can make likely.

    A pixel between two places takes from both; beyond the outermost places are those of the input's own edge.
    """
    near = np.array([max(first - 0.5, 0), min(last + 1.5, places)])
    start, end = np.clip(np.ceil(near * scale + offset - 0.5), 0, full)
    return int(start), int(end)


def _window(
    mask: NDArray[np.float32], x: tuple[float, float], y: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Probabilities at the centres of a window of the full image; `x` and `y` are a place's size in the full image's
    pixels, and the place at which the window's first pixel lies. `size` is (width, height)."""
    import cv2

    matrix = np.array([[1 / x[0], 0, x[1]], [0, 1 / y[0], y[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(mask, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))
