"""Operations that hide parts of a picture. Masks and boxes stay: what is hidden is still there to be found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from vision_batch.images.augmentations.settings import (
    CutOutSettings,
    GridMaskSettings,
    MissingBandsSettings,
    OcclusionSettings,
)
from vision_batch.images.augmentations.step import Paint, Pixels, Step, between, count_between


def occlusion(settings: OcclusionSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Things of any colour and direction in the way."""
    shapes = [_thing(settings, random, width, height) for _ in range(count_between(random, settings.count))]

    def occluded(pixels: Pixels) -> Pixels:
        covered = pixels.copy()
        for is_round, place, colour in shapes:
            if is_round:
                cv2.ellipse(covered, place, colour, cv2.FILLED)
            else:
                cv2.fillConvexPoly(covered, np.rint(cv2.boxPoints(place)).astype(np.int32), colour)
        return covered

    yield Paint(occluded)


def _thing(
    settings: OcclusionSettings, random: np.random.Generator, width: int, height: int
) -> tuple[bool, Any, tuple[int, ...]]:
    """Round or not; centre, diameters in pixels and degrees; colour."""
    centre = random.random() * width, random.random() * height
    diameters = tuple(between(random, settings.size) * min(width, height) for _ in range(2))
    place = (centre, diameters, random.random() * 180)
    return random.random() < 0.5, place, tuple(map(int, random.integers(0, 256, 3)))


def cut_out(settings: CutOutSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Squares about points within the picture; what reaches beyond is cut."""
    windows = []
    for _ in range(count_between(random, settings.count)):
        side = round(between(random, settings.size) * min(width, height))
        left, top = round(random.random() * width - side / 2), round(random.random() * height - side / 2)
        windows.append((slice(max(top, 0), max(top + side, 0)), slice(max(left, 0), max(left + side, 0))))
    yield Paint(lambda pixels: _filled(pixels, windows, settings.fill))


def missing_bands(
    settings: MissingBandsSettings, random: np.random.Generator, width: int, height: int
) -> Iterator[Step]:
    """Whole rows or whole columns, in bands."""
    windows: list[Any] = []
    for _ in range(count_between(random, settings.count)):
        across = settings.direction == "rows" or (settings.direction == "either" and random.random() < 0.5)
        length = height if across else width
        size = round(between(random, settings.size) * length)
        start = int(random.integers(0, length - size, endpoint=True))
        band = slice(start, start + size)
        windows.append(band if across else (slice(None), band))
    yield Paint(lambda pixels: _filled(pixels, windows, settings.fill))


def grid_mask(settings: GridMaskSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Squares at equal distances, from a random beginning."""
    distance = max(1, round(between(random, settings.cell) * min(width, height)))
    side = round(distance * between(random, settings.hidden))
    x, y = random.integers(0, distance, 2)
    shown = ~(_stripes(height, int(y), distance, side)[:, None] & _stripes(width, int(x), distance, side))
    mask = shown.astype(np.uint8)
    yield Paint(lambda pixels: cast(Pixels, cv2.copyTo(pixels, mask, np.full_like(pixels, settings.fill))))


def _stripes(length: int, start: int, distance: int, size: int) -> npt.NDArray[np.bool_]:
    return (np.arange(length) + start) % distance < size


def _filled(pixels: Pixels, windows: list[Any], fill: int) -> Pixels:
    covered = pixels.copy()
    for window in windows:
        covered[window] = fill
    return covered
