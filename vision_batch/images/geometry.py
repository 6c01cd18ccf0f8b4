"""Where the model's pixels lie in the full image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.images.settings import rounded

LETTERBOX_GREY: Final = 114


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """full = model * scale + offset, per axis, in pixels.

    Coordinates are of edges: 0 is the left edge of the first pixel, `width` the right edge of the last.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def to_full(self, x: float, y: float) -> tuple[float, float]:
        """A point of the model's input as a point of the full image."""
        return x * self.scale_x + self.offset_x, y * self.scale_y + self.offset_y

    def to_model(self, x: float, y: float) -> tuple[float, float]:
        """A point of the full image as a point of the model's input."""
        return (x - self.offset_x) / self.scale_x, (y - self.offset_y) / self.scale_y

    def boxes_to_full(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Boxes (K, 4; x_min, y_min, x_max, y_max) of the model's input as boxes of the full image."""
        scale = np.array([self.scale_x, self.scale_y] * 2)
        return np.asarray(boxes * scale + np.array([self.offset_x, self.offset_y] * 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How a picture of `width` x `height` becomes the model's input.

    It is resized to `resized_width` x `resized_height`; of that the window of `out_width` x `out_height` whose corner
    is at (`left`, `top`) is taken; what lies outside the picture is `fill`.
    """

    width: int
    height: int
    resized_width: int
    resized_height: int
    left: int
    top: int
    out_width: int
    out_height: int
    fill: int

    @property
    def geometry(self) -> Geometry:
        """From the model's pixels back to the full image's."""
        scale_x, scale_y = self.width / self.resized_width, self.height / self.resized_height
        return Geometry(scale_x=scale_x, scale_y=scale_y, offset_x=self.left * scale_x, offset_y=self.top * scale_y)


def place(
    width: int,
    height: int,
    *,
    resize_shorter_px: int | None,
    resize_px: tuple[int, int] | None,
    letterbox_px: int | None,
    crop_px: int | None,
    longest_px: int | None = None,
    round_up_px: int | None = None,
    round_down_px: int | None = None,
) -> Placement:
    """The placement of a picture of `width` x `height` pixels, orientation applied. At most one resize is given."""
    left = top = fill = 0
    resized = width, height
    if resize_shorter_px is not None:
        sides = _shorter(width, height, resize_shorter_px, longest_px)
        resized = rounded(sides[0], round_up_px, round_down_px), rounded(sides[1], round_up_px, round_down_px)
    elif resize_px is not None:
        resized = resize_px[1], resize_px[0]
    elif letterbox_px is not None:
        resized, fill = _within(width, height, letterbox_px), LETTERBOX_GREY
    out = resized
    if longest_px is not None:
        out = (rounded(longest_px, round_up_px, round_down_px),) * 2
    if letterbox_px is not None:
        out = letterbox_px, letterbox_px
        left, top = -((out[0] - resized[0]) // 2), -((out[1] - resized[1]) // 2)
    if crop_px is not None:
        left, top = left + _centre(out[0], crop_px), top + _centre(out[1], crop_px)
        out = crop_px, crop_px
    return Placement(
        width=width,
        height=height,
        resized_width=resized[0],
        resized_height=resized[1],
        left=left,
        top=top,
        out_width=out[0],
        out_height=out[1],
        fill=fill,
    )


def _shorter(width: int, height: int, side: int, longest: int | None) -> tuple[int, int]:
    """torchvision's rule: the longer side is cut to a whole number.

    With `longest` that of DETR and its kin, get_size_with_aspect_ratio in transformers: where the longer side would
    exceed it the shorter one is rounded, and the longer one is computed from what it was before. A picture whose
    shorter side is right keeps its longer one too, up to the bound: the library lets some exceed it by a few pixels.
    """
    short, long = min(width, height), max(width, height)
    exact: float = side
    if longest is not None and long / short * side > longest:
        exact = longest * short / long
    resized = max(1, round(exact)), max(1, int(exact * long / short))
    if resized[0] == short:
        resized = short, min(long, longest or long)
    return resized if width <= height else resized[::-1]


def _within(width: int, height: int, side: int) -> tuple[int, int]:
    """The largest size of the same shape within a square; the longer side fits exactly."""
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _centre(size: int, crop: int) -> int:
    """Where a centred window begins, rounded down as transformers does; negative where it exceeds the picture."""
    return -((crop - size) // 2) if crop > size else (size - crop) // 2
