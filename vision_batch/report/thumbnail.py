"""Small pictures of images, with what was predicted drawn on them, as they stand in a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from vision_batch.images.draw import LARGEST_PX, Colour, draw_boxes, enlarged, scale_of
from vision_batch.images.formats import read_header
from vision_batch.images.mask import decode_mask
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.report.colours import Palette
from vision_batch.tasks.box_truth import EDGES, TrueBox
from vision_batch.tasks.rle import decode

Pixels = npt.NDArray[np.uint8]
MAX_PIXELS: Final = 50_000_000
"""Larger images are not decoded for a thumbnail: it would take hundreds of megabytes."""
QUALITIES: Final = (80, 60, 40, 20, 10)
MOST_BYTES: Final = 24 << 10
"""Of a picture, so that a page of all that it may show has 6 MB."""
OPACITY: Final = 0.55
BACKGROUND_OPACITY: Final = 0.2
MOST_BOXES: Final = 40
BLACK: Final[Colour] = (0, 0, 0)
WHITE: Final[Colour] = (255, 255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """`uri` is a data: URI of a JPEG of `width` x `height` pixels, neither more than LARGEST_PX."""

    uri: str
    width: int
    height: int


def make_thumbnail(data: bytes, row: Mapping[str, Any], palette: Palette) -> Thumbnail:
    """Of an encoded image, under the prediction of its row. ImageError where the image cannot be decoded,
    ValueError where a mask is none."""
    pixels, scale = _small(data)
    pixels = _drawn(pixels, scale, row, palette)
    height, width = pixels.shape[:2]
    text = base64.b64encode(_jpeg(pixels)).decode()
    return Thumbnail(uri=f"data:image/jpeg;base64,{text}", width=width, height=height)


def _jpeg(pixels: Pixels) -> bytes:
    """Of the first quality that takes no more than MOST_BYTES; of the last one noise takes 20 KB."""
    data = b""
    for quality in QUALITIES:
        data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))[
            1
        ].tobytes()
        if len(data) <= MOST_BYTES:
            break
    return data


def _small(data: bytes) -> tuple[Pixels, float]:
    """The image made to fit, a very small one larger, and by what a pixel of it was scaled."""
    longest = max(read_header(data).shown_size)
    side = min(longest, LARGEST_PX)
    fitted = Preprocessor(PreprocessSettings(letterbox_px=side), max_pixels=MAX_PIXELS)(data)
    left, top = fitted.geometry.to_model(0, 0)
    right, bottom = fitted.geometry.to_model(fitted.width, fitted.height)
    picture = fitted.pixels[
        round(top) : max(round(bottom), round(top) + 1), round(left) : max(round(right), round(left) + 1)
    ]
    return enlarged(np.ascontiguousarray(picture)), side / longest * scale_of(*picture.shape[:2])


def _drawn(pixels: Pixels, scale: float, row: Mapping[str, Any], palette: Palette) -> Pixels:
    """The row's mask, with the borders of a true one that it may have as `expected_png`; or its boxes, above the true
    ones that it may have as `expected`."""
    if row.get("mask_png"):
        pixels = _with_mask(pixels, row["mask_png"], row.get("class_pixels") or (), palette)
        return _with_borders(pixels, row["expected_png"]) if row.get("expected_png") else pixels
    expected: Sequence[TrueBox] = row.get("expected") or ()
    true_edges = [box.edges for box in expected[:MOST_BOXES]]
    pixels = _framed(pixels, scale, true_edges, [BLACK] * len(true_edges), [WHITE] * len(true_edges))
    boxes = [*reversed((row.get("boxes") or [])[:MOST_BOXES])]
    colours = [palette.rgb(box["label"]) for box in boxes]
    for box, colour in zip(boxes, colours, strict=True):
        if box.get("mask_rle"):
            mask = decode(box["mask_rle"], row["height"], row["width"])
            small = cv2.resize(mask, pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            pixels = _tinted(pixels, small > 0, colour, OPACITY)
    return _framed(pixels, scale, [[box[edge] for edge in EDGES] for box in boxes], colours, colours)


def _framed(
    pixels: Pixels,
    scale: float,
    edges: Sequence[Sequence[float | None]],
    outer: Sequence[Colour],
    inner: Sequence[Colour],
) -> Pixels:
    """With a frame of two lines within each of the boxes; the last ones on top."""
    if not edges:
        return pixels
    places = np.nan_to_num(np.array(edges, np.float32) * scale).clip(0, [pixels.shape[1], pixels.shape[0]] * 2)
    for inset, colours in enumerate((outer, inner)):
        pixels = draw_boxes(pixels, places + np.array([inset, inset, -inset, -inset]), [""] * len(places), colours)
    return pixels


def _with_borders(pixels: Pixels, mask_png: bytes) -> Pixels:
    """White where the classes of the mask meet."""
    mask = cv2.resize(decode_mask(mask_png), pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    border = np.zeros(mask.shape, np.bool_)
    border[:, 1:] = mask[:, 1:] != mask[:, :-1]
    border[1:] |= mask[1:] != mask[:-1]
    return _tinted(pixels, border, WHITE, 1)


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
