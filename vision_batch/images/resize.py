"""Antialiased resizing of uint8 pictures, as Pillow's BILINEAR and BICUBIC, and the window that is taken of the result.

torch is imported with the first resize: a process that only decodes does without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vision_batch.images.geometry import Placement
from vision_batch.images.settings import Interpolation

Pixels: TypeAlias = npt.NDArray[np.uint8]


def resize(
    pixels: Pixels,
    width: int,
    height: int,
    *,
    interpolation: Interpolation = "bilinear",
    span: tuple[float, float] | None = None,
    keep: tuple[int, int] | None = None,
) -> Pixels:
    """uint8 (H, W, 3) to uint8 (height, width, 3); the same array where nothing is to do.

    `span` is how many of the given columns and rows the whole picture covers, where that is not all of them: a decoder
    that scales 375 rows by 1/2 gives 188, of which the picture covers 187.5 (taking it for 188 moves the picture by a
    quarter of a row at its end and was measured to cost up to 2 of 255 of mean difference).
    `keep` is how many columns and rows of the result, from its left and top edge, are wanted: the rest is not computed.

    The picture is resized across and then down, rounded to uint8 between. Pillow takes the other order where that costs
    less, which shows with bicubic only: what it overshoots is cut at 0 and 255 in between.
    """
    rows, columns = pixels.shape[:2]
    keep_width, keep_height = keep or (width, height)
    if (rows, columns) == (height, width) and span is None:
        return pixels[:keep_height, :keep_width]
    span_width, span_height = span or (columns, rows)
    if not pixels.flags.writeable or not pixels.flags.c_contiguous:
        pixels = pixels.copy()
    scale_x, scale_y = width / span_width, height / span_height
    asked = _asked(keep_height, rows, scale_y), _asked(keep_width, columns, scale_x)
    kernel, from_numpy = _torch(interpolation)
    # torch has a fast path for (1, 3, H, W) whose channels lie together, and knows them by the strides. `[None]` in
    # place of `view` gives other strides for the first axis, and everything takes twice as long.
    stack = from_numpy(pixels).view(1, rows, columns, 3).permute(0, 3, 1, 2)
    resized: Pixels = kernel(stack, asked, False, scale_y, scale_x).permute(0, 2, 3, 1).numpy()[0]
    return resized[:keep_height, :keep_width]


def _asked(kept: int, given: int, scale: float) -> int:
    """How many columns or rows to ask torch for, of which the first `kept` are wanted.

    Asked for as many as there are, torch leaves an axis as it is, whatever the scale; so one more is asked for.
    """
    return kept + 1 if kept == given and scale != 1 else kept


@cache
def _torch(interpolation: Interpolation) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The operator behind interpolate(mode=interpolation, antialias=True), which takes size and scale apart."""
    import torch

    operators = torch.ops.aten
    kernels = {"bilinear": operators._upsample_bilinear2d_aa, "bicubic": operators._upsample_bicubic2d_aa}
    return kernels[interpolation].default, torch.from_numpy


def window(pixels: Pixels, placement: Placement, out: Pixels | None = None) -> Pixels:
    """The placement's window of a resized picture, C-contiguous, in `out` if given; what lies outside is filled."""
    height, width = pixels.shape[:2]
    top, left = placement.top, placement.left
    bottom, right = top + placement.out_height, left + placement.out_width
    if top >= 0 and left >= 0 and bottom <= height and right <= width:
        if out is None:
            return np.ascontiguousarray(pixels[top:bottom, left:right])
        out[:] = pixels[top:bottom, left:right]
        return out
    if out is None:
        out = np.empty((placement.out_height, placement.out_width, 3), np.uint8)
    out[:] = placement.fill
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    y, x = max(-top, 0), max(-left, 0)
    out[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return out


def limit_threads() -> None:
    """Makes torch and OpenCV use the calling thread only. To be called in each worker thread of a pool.

    torch's OpenMP builds keep the number of threads per thread (measured: a call changes the calling thread and those
    that first use torch later, not others), OpenCV one per process. A thread that shall run a model on all cores sets
    its own number with torch.set_num_threads.
    """
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
