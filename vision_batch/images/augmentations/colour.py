"""Operations on colours and light."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from vision_batch.images.augmentations.settings import (
    FactorSettings,
    GammaSettings,
    HueSettings,
    UnevenLightSettings,
)
from vision_batch.images.augmentations.step import Paint, Pixels, Step, between

VALUES: Final = np.arange(256, dtype=np.float64)
LUMA: Final = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's grey
LIGHTS: Final = 3


def brightness(settings: FactorSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Every value times a factor."""
    yield Paint(partial(brightened, factor=between(random, settings.factor)))


def contrast(settings: FactorSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Every value's distance to the mean grey times a factor."""
    yield Paint(partial(contrasted, factor=between(random, settings.factor)))


def saturation(settings: FactorSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Every pixel's distance to its grey times a factor."""
    yield Paint(partial(saturated, factor=between(random, settings.factor)))


def hue(settings: HueSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Colours turned about the grey axis of the RGB cube: greys stay."""
    angle = math.radians(between(random, settings.degrees))
    third, root = (1 - math.cos(angle)) / 3, math.sin(angle) / math.sqrt(3)
    turn = np.array(
        [
            [math.cos(angle) + third, third - root, third + root],
            [third + root, math.cos(angle) + third, third - root],
            [third - root, third + root, math.cos(angle) + third],
        ]
    )
    yield Paint(partial(_mixed, matrix=turn))


def gamma(settings: GammaSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """A power of the value: dark tones change more than bright ones."""
    yield Paint(partial(looked_up, values=255 * (VALUES / 255) ** between(random, settings.gamma)))


def uneven_light(settings: UnevenLightSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Factors at 3 x 3 points, smooth between them."""
    low, high = settings.factor
    factors = random.uniform(low, high, (LIGHTS, LIGHTS)).astype(np.float32)
    yield Paint(partial(_lit, factors=factors, low=low, high=high))


def _lit(pixels: Pixels, *, factors: npt.NDArray[np.float32], low: float, high: float) -> Pixels:
    light = cv2.resize(factors, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    light = np.clip(light, low, high, out=light)
    return cast(Pixels, cv2.multiply(pixels, cv2.merge([light, light, light]), dtype=cv2.CV_8U))


def brightened(pixels: Pixels, *, factor: float) -> Pixels:
    """Pillow's ImageEnhance.Brightness."""
    return looked_up(pixels, VALUES * factor)


def contrasted(pixels: Pixels, *, factor: float) -> Pixels:
    """Pillow's ImageEnhance.Contrast: about the mean of the picture's grey."""
    mean = float(LUMA @ cv2.mean(pixels)[:3])
    return looked_up(pixels, mean + (VALUES - mean) * factor)


def saturated(pixels: Pixels, *, factor: float) -> Pixels:
    """Pillow's ImageEnhance.Color."""
    return _mixed(pixels, factor * np.eye(3) + (1 - factor) * LUMA)


def looked_up(pixels: Pixels, values: npt.NDArray[Any]) -> Pixels:
    """Every value v becomes values[v], of 256, rounded and cut at 0 and 255."""
    return cast(Pixels, cv2.LUT(pixels, np.rint(values).clip(0, 255).astype(np.uint8)))


def _mixed(pixels: Pixels, matrix: npt.NDArray[np.float64]) -> Pixels:
    """Every pixel's colour times a (3, 3) matrix."""
    return cast(Pixels, cv2.transform(pixels, matrix))
