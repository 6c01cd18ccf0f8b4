"""One image of a training set: its pixels, and what lies on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What lies on an image, in pixels of the full image as it is shown.

    `mask` is uint8 or uint16 (H, W) of class indices; `boxes` is float32 (K, 4): x_min, y_min, x_max, y_max;
    `box_labels` is int64 (K,).
    """

    mask: NDArray[Any] | None = None
    boxes: NDArray[np.float32] | None = None
    box_labels: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """`pixels` is uint8 (h, w, 3), of the model's size, and the annotation has moved with them.

    `mask` is (h, w), 255 (of uint16 65535) outside the image. `width` and `height` are of the full image.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[Any] | None
    boxes: NDArray[np.float32] | None
    box_labels: NDArray[np.int64] | None
    width: int
    height: int
