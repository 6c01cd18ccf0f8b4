"""Operations that move pixels, and masks and boxes with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np

from vision_batch.images.augmentations.settings import (
    AffineSettings,
    ElasticSettings,
    FlipSettings,
    PerspectiveSettings,
    RandomResizedCropSettings,
    RotateSettings,
)
from vision_batch.images.augmentations.step import Bend, Matrix, Step, Warp, between
from vision_batch.images.region import Region

ATTEMPTS: Final = 10


def crop_region(settings: RandomResizedCropSettings, random: np.random.Generator, width: int, height: int) -> Region:
    """A region of a picture of `width` x `height`; the largest central one of an allowed shape if none fits.

    Shapes are as likely wide as high, by how much so ever (log-uniform): torchvision's RandomResizedCrop.
    """
    low, high = settings.ratio
    for _ in range(ATTEMPTS):
        area = between(random, settings.scale) * width * height
        ratio = math.exp(between(random, (math.log(low), math.log(high))))
        columns, rows = max(1, round(math.sqrt(area * ratio))), max(1, round(math.sqrt(area / ratio)))
        if columns <= width and rows <= height:
            left, top = (int(random.integers(0, room, endpoint=True)) for room in (width - columns, height - rows))
            return Region(left=left, top=top, width=columns, height=rows)
    ratio = min(max(width / height, low), high)
    columns, rows = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    return Region(left=(width - columns) // 2, top=(height - rows) // 2, width=columns, height=rows)


def random_resized_crop(
    settings: RandomResizedCropSettings, random: np.random.Generator, width: int, height: int
) -> Iterator[Step]:
    """The region at the size of the picture."""
    region = crop_region(settings, random, width, height)
    enlarged = _scaling(width / region.width, height / region.height)
    yield Warp(enlarged @ moving(-region.left, -region.top))


def horizontal_flip(settings: FlipSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Left and right exchanged."""
    yield Warp(np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]))


def vertical_flip(settings: FlipSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Top and bottom exchanged."""
    yield Warp(np.array([[1.0, 0, 0], [0, -1, height], [0, 0, 1]]))


def rotate(settings: RotateSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """About the centre."""
    yield Warp(about_centre(turning(between(random, settings.degrees)), width, height), settings.fill)


def affine(settings: AffineSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Sheared, scaled, turned, then moved."""
    shear_x, shear_y = (between(random, settings.shear_degrees) for _ in range(2))
    scale = between(random, settings.scale)
    matrix = turning(between(random, settings.degrees)) @ _scaling(scale, scale) @ shearing(shear_x, shear_y)
    x, y = between(random, settings.translate) * width, between(random, settings.translate) * height
    yield Warp(moving(x, y) @ about_centre(matrix, width, height), settings.fill)


def perspective(settings: PerspectiveSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """The four corners go each its own way."""
    size = np.array([width, height])
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    low, high = settings.shift
    moved = corners + random.uniform(low, high, (4, 2)) * size
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
    yield Warp(np.asarray(matrix, np.float64), settings.fill)


def elastic(settings: ElasticSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Points of a grid within the picture move; what lies between follows smoothly."""
    points = np.zeros((settings.cells + 2, settings.cells + 2, 2), np.float32)
    points[1:-1, 1:-1] = random.uniform(-settings.shift, settings.shift, (settings.cells, settings.cells, 2))
    points *= np.array([width, height], np.float32)
    shift = cv2.resize(points, (width, height), interpolation=cv2.INTER_CUBIC)
    yield Bend(np.ascontiguousarray(shift[..., 0]), np.ascontiguousarray(shift[..., 1]))


def moving(x: float, y: float) -> Matrix:
    """By pixels to the right and down."""
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def turning(degrees: float) -> Matrix:
    """About the origin, counter-clockwise as seen: y points down."""
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])


def shearing(x_degrees: float, y_degrees: float) -> Matrix:
    """Rows slide by the first angle, columns by the second."""
    x, y = math.tan(math.radians(x_degrees)), math.tan(math.radians(y_degrees))
    return np.array([[1.0, x, 0], [y, 1, 0], [0, 0, 1]])


def _scaling(x: float, y: float) -> Matrix:
    return np.diag([x, y, 1.0])


def about_centre(matrix: Matrix, width: int, height: int) -> Matrix:
    """The same with the centre of the picture in the place of the origin."""
    x, y = width / 2, height / 2
    return moving(x, y) @ matrix @ moving(-x, -y)
