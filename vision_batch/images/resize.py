"""Antialiased bilinear resizing of uint8 pictures, as Pillow's BILINEAR; windows of them.

torch is imported with the first resize: a process that only decodes does without.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vision_batch.images.geometry import Placement

Pixels = npt.NDArray[np.uint8]


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """uint8 (H, W, 3) to uint8 (height, width, 3). The same array where the size fits already."""
    if pixels.shape[0] == height and pixels.shape[1] == width:
        return pixels
    import torch
    from torch.nn.functional import interpolate

    if not pixels.flags.writeable or not pixels.flags.c_contiguous:
        pixels = pixels.copy()
    # (1, 3, H, W) whose channels lie together: the layout for which torch has its fast path for uint8.
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = interpolate(tensor, (height, width), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def window(pixels: Pixels, placement: Placement) -> Pixels:
    """The placement's window of a resized picture, C-contiguous; what lies outside is filled."""
    height, width = pixels.shape[:2]
    top, left = placement.top, placement.left
    bottom, right = top + placement.out_height, left + placement.out_width
    if top >= 0 and left >= 0 and bottom <= height and right <= width:
        return np.ascontiguousarray(pixels[top:bottom, left:right])
    out = np.full((placement.out_height, placement.out_width, 3), placement.fill, np.uint8)
    inside = pixels[max(top, 0) : bottom, max(left, 0) : right]
    y, x = max(-top, 0), max(-left, 0)
    out[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return out


def limit_threads() -> None:
    """Makes torch and OpenCV use the calling thread only. To be called in each worker thread of a pool.

    torch's OpenMP builds keep the number of threads per thread (measured: a call changes the calling thread and threads
    started later, not others), OpenCV per process. A thread that shall run a model on all cores sets its own number.
    """
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
