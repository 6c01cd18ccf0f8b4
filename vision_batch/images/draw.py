"""Pictures for people: masks and boxes drawn on images, and many images on one sheet."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias, cast

import cv2
import numpy as np
import numpy.typing as npt

from vision_batch.images.mask import Mask, ignore_of

Pixels: TypeAlias = npt.NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]
OPACITY: Final = 0.5
BACKGROUND_OPACITY: Final = 0.25
LARGEST_PX: Final = 320
SMALLEST_PX: Final = 128
TEXT_PX: Final = 13
LINE_PX: Final = 17
MARGIN_PX: Final = 4
PAPER: Final[Colour] = (255, 255, 255)
INK: Final[Colour] = (20, 20, 20)
ALARM: Final[Colour] = (190, 20, 20)
GOLDEN: Final = 0.618033988749895  # of the circle of hues: neighbours in number are far apart in colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One image of a sheet, uint8 (H, W, 3), and the lines below it; without pixels the lines say why."""

    pixels: Pixels | None
    lines: Sequence[str] = ()


def colour_of(index: int) -> Colour:
    """The colour of a class; 0, the background of most masks, is black."""
    if index == 0:
        return 0, 0, 0
    red, green, blue = colorsys.hsv_to_rgb(index * GOLDEN % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_mask(pixels: Pixels, mask: Mask) -> Pixels:
    """The image (H, W, 3) under the translucent colours of its classes (H, W); what is IGNORE stays as it is."""
    drawn = pixels.copy()
    for index in np.unique(mask):
        if index == ignore_of(mask):
            continue
        here = mask == index
        opacity = OPACITY if index else BACKGROUND_OPACITY
        drawn[here] = np.rint(pixels[here] * (1 - opacity) + np.array(colour_of(int(index))) * opacity)
    return drawn


def draw_boxes(pixels: Pixels, boxes: npt.NDArray[Any], names: Sequence[str], colours: Sequence[Colour]) -> Pixels:
    """The image with a frame just within each of the boxes (K, 4), and its name in it; pixels of edges."""
    drawn = pixels.copy()
    for box, name, colour in zip(boxes, names, colours, strict=True):
        x_min, y_min = (int(edge) for edge in np.floor(box[:2]))
        x_max, y_max = (int(edge) - 1 for edge in np.ceil(box[2:]))
        cv2.rectangle(drawn, (x_min, y_min), (max(x_max, x_min), max(y_max, y_min)), colour, 1)
        write(drawn, name, x_min + 2, y_min + TEXT_PX, colour)
    return drawn


def write(pixels: Pixels, text: str, x: int, y: int, colour: Colour = INK) -> None:
    """Writes one line into the image; (x, y) is the lower left end. What does not fit is cut."""
    cv2.putText(pixels, text, (x, y), colour, _font(), TEXT_PX)


def shortened(text: str, width_px: int) -> str:
    """The text, its middle left out if it is wider than that; control characters become spaces."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    if _width_px(line) <= width_px:
        return line
    for kept in range(len(line) - 1, 0, -1):
        short = f"{line[: kept - kept // 2]}…{line[len(line) - kept // 2 :]}"
        if _width_px(short) <= width_px:
            return short
    return "…"


def sheet(tiles: Sequence[Tile], columns: int) -> Pixels:
    """All tiles in rows of `columns`, all as wide as the widest. There is at least one tile."""
    images = [_shown(tile) for tile in tiles]
    width = max(image.shape[1] for image in images) + 2 * MARGIN_PX
    cells = [(tile.pixels is None, tile.lines, image) for tile, image in zip(tiles, images, strict=True)]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return np.concatenate([_row(row, width, columns) for row in rows])


def _row(cells: Sequence[tuple[bool, Sequence[str], Pixels]], width: int, columns: int) -> Pixels:
    """Cells beside each other, all as high as the highest."""
    height = max(image.shape[0] + LINE_PX * len(lines) for _, lines, image in cells) + 2 * MARGIN_PX
    paper = np.full((height, columns * width, 3), PAPER, np.uint8)
    for column, (is_alarm, lines, image) in enumerate(cells):
        left, bottom = column * width + MARGIN_PX, MARGIN_PX + image.shape[0]
        paper[MARGIN_PX:bottom, left : left + image.shape[1]] = image
        for number, line in enumerate(lines, start=1):
            text = shortened(line, width - 2 * MARGIN_PX)
            write(paper, text, left, bottom + LINE_PX * number - MARGIN_PX, ALARM if is_alarm else INK)
    return paper


def scale_of(height: int, width: int) -> float:
    """By what an image is shown larger, a whole number, or smaller."""
    longest = max(height, width)
    return LARGEST_PX / longest if longest > LARGEST_PX else max(1, -(-SMALLEST_PX // longest))


def enlarged(pixels: Pixels) -> Pixels:
    """The image in the size in which it is shown."""
    height, width = pixels.shape[:2]
    scale = scale_of(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA
    return pixels if scale == 1 else cast(Pixels, cv2.resize(pixels, size, interpolation=how))


def _shown(tile: Tile) -> Pixels:
    if tile.pixels is not None:
        return tile.pixels
    return np.full((SMALLEST_PX, SMALLEST_PX, 3), (250, 225, 225), np.uint8)


@cache
def _font() -> Any:
    """One that OpenCV brings along, with the letters of most scripts."""
    return cv2.FontFace("sans")


def _width_px(text: str) -> int:
    return int(cv2.getTextSize((0, 0), text, (0, 0), _font(), TEXT_PX)[2])
