"""A picture with its mask and its boxes, and how all three are moved together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import cv2
import numpy as np
import numpy.typing as npt

from vision_batch.images.mask import Mask, ignore_of

if TYPE_CHECKING:
    from vision_batch.images.augmentations.step import Bend, Warp

Pixels: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]
SAME: Final = 1e-9
"""Of pixels: what a warp moves by less it does not move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """`corners` are float32 (K, 4): x_min, y_min, x_max, y_max in pixels, of edges; `labels` int64 (K,).

    `shares` float32 (K,) says how much of each box's area has not been cut off.
    """

    corners: Floats
    labels: npt.NDArray[np.int64]
    shares: Floats

    def within(self, width: int, height: int, *, min_share: float) -> Boxes:
        """Clipped to a picture of `width` x `height`; without those of which less than `min_share` is left."""
        limit = np.array([width, height, width, height], np.float32)
        clipped = np.clip(self.corners, 0, limit)
        before = _areas(self.corners)
        left = np.divide(_areas(clipped), before, out=np.zeros_like(before), where=before > 0)
        shares = self.shares * left.astype(np.float32)
        kept = (shares > 0) & (shares >= min_share)
        return Boxes(corners=clipped[kept], labels=self.labels[kept], shares=shares[kept])


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """`pixels` is uint8 (H, W, 3) RGB; `mask`, where there is one, (H, W)."""

    pixels: Pixels
    mask: Mask | None = None
    boxes: Boxes | None = None


def warped(frame: Frame, warp: Warp, *, min_share: float) -> Frame:
    """Everything moved by one matrix: pixels between their neighbours, the mask to the nearest, boxes by their corners.

    Where nothing goes pixels are filled and the mask is IGNORE. A box becomes the smallest that holds its four corners.
    """
    height, width = frame.pixels.shape[:2]
    if np.abs(warp.matrix - np.eye(3)).max() < SAME:
        return frame
    boxes = frame.boxes
    if boxes is not None:
        boxes = replace(boxes, corners=_moved(boxes.corners, warp.matrix)).within(width, height, min_share=min_share)
    axes = _flipped_axes(warp.matrix, width, height)
    if axes is not None:
        mask = None if frame.mask is None else cast(Mask, cv2.flip(frame.mask, axes))
        return Frame(pixels=cast(Pixels, cv2.flip(frame.pixels, axes)), mask=mask, boxes=boxes)
    centres = _between_centres(warp.matrix)
    pixels = _warp(frame.pixels, centres, cv2.INTER_LINEAR, warp.fill)
    mask = None if frame.mask is None else _warp(frame.mask, centres, cv2.INTER_NEAREST, ignore_of(frame.mask))
    return Frame(pixels=pixels, mask=mask, boxes=boxes)


def bent(frame: Frame, bend: Bend, *, min_share: float) -> Frame:
    """Everything moved by shifts that differ from pixel to pixel; nothing comes from outside."""
    height, width = frame.pixels.shape[:2]
    from_x = np.clip(np.arange(width, dtype=np.float32) + bend.shift_x, 0, width - 1)
    from_y = np.clip(np.arange(height, dtype=np.float32)[:, None] + bend.shift_y, 0, height - 1)
    boxes = frame.boxes
    if boxes is not None:
        corners = [_bent_box(box, from_x + 0.5, from_y + 0.5) for box in boxes.corners]
        boxes = replace(boxes, corners=np.array(corners, np.float32).reshape(-1, 4))
        boxes = boxes.within(width, height, min_share=min_share)
    pixels = cv2.remap(frame.pixels, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = frame.mask
    if mask is not None:
        mask = cast(Mask, cv2.remap(mask, from_x, from_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE))
    return Frame(pixels=cast(Pixels, pixels), mask=mask, boxes=boxes)


def _warp(pixels: Any, matrix: npt.NDArray[np.float64], how: int, fill: int | Literal["reflect"] | None) -> Any:
    size = pixels.shape[1::-1]
    if isinstance(fill, int):
        border: dict[str, Any] = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (fill,) * 3}
    else:
        border = {"borderMode": cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_REFLECT_101}
    if matrix[2, 0] == 0 and matrix[2, 1] == 0:
        return cv2.warpAffine(pixels, matrix[:2] / matrix[2, 2], size, flags=how, **border)
    return cv2.warpPerspective(pixels, matrix, size, flags=how, **border)


def _between_centres(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A matrix of edges as OpenCV wants it: there 0 is the centre of the first pixel."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    back = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    return np.asarray(back @ matrix @ half)


def _flipped_axes(matrix: npt.NDArray[np.float64], width: int, height: int) -> int | None:
    """OpenCV's word for the axes that a matrix mirrors, if that is all it does."""
    for axes, x, y in ((1, -1, 1), (0, 1, -1), (-1, -1, -1)):
        mirror = np.array([[x, 0, width * (x < 0)], [0, y, height * (y < 0)], [0, 0, 1]])
        if np.abs(matrix - mirror).max() < SAME:
            return axes
    return None


def _moved(corners: Floats, matrix: npt.NDArray[np.float64]) -> Floats:
    """The smallest boxes that hold where the four corners of each go."""
    x, y = corners[:, [0, 2, 2, 0]], corners[:, [1, 1, 3, 3]]
    points = np.stack([x, y, np.ones_like(x)]).astype(np.float64)
    to_x, to_y, scale = np.einsum("ij,jkc->ikc", matrix, points)
    to_x, to_y = to_x / scale, to_y / scale
    return np.stack([to_x.min(1), to_y.min(1), to_x.max(1), to_y.max(1)], axis=1).astype(np.float32)


def _bent_box(box: Floats, from_x: Floats, from_y: Floats) -> tuple[float, float, float, float]:
    """The smallest box of whole pixels that come from within `box`; an empty one if none does."""
    x_min, y_min, x_max, y_max = box
    inside = (from_x >= x_min) & (from_x < x_max) & (from_y >= y_min) & (from_y < y_max)
    columns, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    if not len(columns):
        return x_min, y_min, x_min, y_min
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _areas(corners: Floats) -> npt.NDArray[np.float64]:
    size = (corners[:, 2:] - corners[:, :2]).astype(np.float64)
    return size[:, 0] * size[:, 1]
