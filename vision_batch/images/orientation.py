"""EXIF orientation, applied in this one place for every format."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def orient(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """A view of `pixels` (H, W, …) as it is to be shown; EXIF 2.32, tag 0x0112.

    1 as is; 2 mirrored; 3 turned by 180°; 4 upside down; 5 transposed; 6 turned clockwise; 7 transposed along the other
    diagonal; 8 turned counter-clockwise.
    """
    if orientation == 1:
        return pixels
    if orientation > 4:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
