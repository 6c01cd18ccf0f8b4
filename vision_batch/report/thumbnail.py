"""Small pictures of images, with what was predicted drawn on them, as they stand in a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from vision_batch.images.draw import draw_boxes
from vision_batch.images.formats import read_header
from vision_batch.images.mask import decode_mask
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.report.colours import Palette
from vision_batch.tasks.rle import decode

Pixels = npt.NDArray[np.uint8]
LONGEST_PX: Final = 320
MAX_PIXELS: Final = 50_000_000
"""Larger images are not decoded for a thumbnail: it would take hundreds of megabytes."""
QUALITY: Final = 80
OPACITY: Final = 0.55
BACKGROUND_OPACITY: Final = 0.2
MOST_BOXES: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """`uri` is a data: URI of a JPEG of `width` x `height` pixels, neither more than LONGEST_PX."""

    uri: str
    width: int
    height: int


def make_thumbnail(data: bytes, row: Mapping[str, Any], palette: Palette) -> Thumbnail:
    """Of an encoded image, under the prediction of its row. ImageError where the image cannot be decoded."""
    pixels, scale = _small(data)
    pixels = _drawn(pixels, scale, row, palette)
    height, width = pixels.shape[:2]
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1]
    text = base64.b64encode(jpeg.tobytes()).decode()
    return Thumbnail(uri=f"data:image/jpeg;base64,{text}", width=width, height=height)


def _small(data: bytes) -> tuple[Pixels, float]:
    """The image made to fit, its own size where it does, and by what a pixel of it was scaled."""
    longest = max(read_header(data).shown_size)
    side = min(longest, LONGEST_PX)
    fitted = Preprocessor(PreprocessSettings(letterbox_px=side), max_pixels=MAX_PIXELS)(data)
    left, top = fitted.geometry.to_model(0, 0)
    right, bottom = fitted.geometry.to_model(fitted.width, fitted.height)
    picture = fitted.pixels[
        round(top) : max(round(bottom), round(top) + 1), round(left) : max(round(right), round(left) + 1)
    ]
    return np.ascontiguousarray(picture), side / longest


def _drawn(pixels: Pixels, scale: float, row: Mapping[str, Any], palette: Palette) -> Pixels:
    if row.get("mask_png"):
        return _with_mask(pixels, row["mask_png"], row.get("class_pixels") or (), palette)
    if row.get("boxes"):
        size = int(row.get("height") or 0), int(row.get("width") or 0)
        return _with_boxes(pixels, scale, row["boxes"][:MOST_BOXES], size, palette)
    return pixels


def _with_boxes(
    pixels: Pixels, scale: float, boxes: Sequence[Mapping[str, Any]], size: tuple[int, int], palette: Palette
) -> Pixels:
    """Instance masks where there are any, and the frames, the surest on top. `size` is the full image's, (H, W)."""
    ordered = [*reversed(boxes)]
    for box in ordered:
        if box.get("mask_rle"):
            mask = cv2.resize(decode(box["mask_rle"], *size), pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            pixels = _tinted(pixels, mask > 0, palette.rgb(box["label"]), OPACITY)
    places = np.array([[box[edge] for edge in ("x_min", "y_min", "x_max", "y_max")] for box in ordered], np.float32)
    limits = np.array([pixels.shape[1], pixels.shape[0]] * 2, np.float32)
    colours = [palette.rgb(box["label"]) for box in ordered]
    places = np.nan_to_num(places * scale).clip(0, limits)
    drawn = draw_boxes(pixels, places, [""] * len(ordered), colours)
    return draw_boxes(drawn, places + np.array([1, 1, -1, -1], np.float32), [""] * len(ordered), colours)


def _with_mask(pixels: Pixels, mask_png: bytes, classes: Sequence[Mapping[str, Any]], palette: Palette) -> Pixels:
    """The classes of the mask in their labels' colours; class 0, mostly the background, more lightly."""
    height, width = pixels.shape[:2]
    mask = cv2.resize(decode_mask(mask_png), (width, height), interpolation=cv2.INTER_NEAREST)
    drawn = pixels
    for seen in classes:
        opacity = OPACITY if seen["label_index"] else BACKGROUND_OPACITY
        drawn = _tinted(drawn, mask == seen["label_index"], palette.rgb(seen["label"]), opacity)
    return drawn


def _tinted(pixels: Pixels, where: npt.NDArray[np.bool_], colour: Sequence[int], opacity: float) -> Pixels:
    drawn = pixels.copy()
    drawn[where] = np.rint(pixels[where] * (1 - opacity) + np.array(colour) * opacity)
    return drawn
