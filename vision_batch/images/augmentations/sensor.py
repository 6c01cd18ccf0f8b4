"""Operations that do what cameras, lenses, codecs and networks do to a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from statistics import NormalDist
from typing import Final, cast

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from vision_batch.images.augmentations.settings import (
    BlurSettings,
    DownscaleSettings,
    GaussianNoiseSettings,
    IsoNoiseSettings,
    JpegSettings,
    MotionBlurSettings,
    SharpenSettings,
)
from vision_batch.images.augmentations.step import Paint, Pixels, Step, between, count_between


def _normal_quantiles() -> npt.NDArray[np.float32]:
    """256 equally likely values of a normal distribution of mean 0 and deviation 1."""
    quantiles = np.array([NormalDist().inv_cdf((rank + 0.5) / 256) for rank in range(256)])
    return np.asarray(quantiles / quantiles.std(), np.float32)


# A random byte looked up here costs a twentieth of a normally distributed number, and no eye sees the missing tails.
NORMAL: Final = _normal_quantiles()


def gaussian_noise(
    settings: GaussianNoiseSettings, random: np.random.Generator, width: int, height: int
) -> Iterator[Step]:
    """The same everywhere, each value by itself."""
    levels = between(random, settings.levels)
    noise = cv2.LUT(_bytes(random, height, width, 3), np.rint(NORMAL * levels).astype(np.int16))
    yield Paint(lambda pixels: cast(Pixels, cv2.add(pixels, noise, dtype=cv2.CV_8U)))


def iso_noise(settings: IsoNoiseSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Shot noise: its variance follows the light, so that it is the same everywhere in the square root of the value."""
    deviation = between(random, settings.levels) / 255 / 2  # d(sqrt v) = dv / (2 sqrt v), at v = 1
    colour = between(random, settings.colour)
    grey = cv2.LUT(_bytes(random, height, width, 1), NORMAL * np.float32(deviation * math.sqrt(1 - colour)))
    noise = cv2.LUT(_bytes(random, height, width, 3), NORMAL * np.float32(deviation * math.sqrt(colour)))
    noise = cv2.add(noise, cv2.merge([grey, grey, grey]))
    roots = np.sqrt(np.arange(256) / 255).astype(np.float32)

    def noisy(pixels: Pixels) -> Pixels:
        root = np.maximum(cv2.add(cv2.LUT(pixels, roots), noise), 0)
        return cast(Pixels, cv2.multiply(root, root, scale=255, dtype=cv2.CV_8U))

    yield Paint(noisy)


def blur(settings: BlurSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """As out of focus."""
    yield Paint(partial(_blurred, sigma_px=between(random, settings.sigma_px)))


def motion_blur(settings: MotionBlurSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """The mean along a line about each pixel."""
    kernel = _line(between(random, settings.length_px), between(random, settings.degrees))
    yield Paint(lambda pixels: cast(Pixels, cv2.filter2D(pixels, -1, kernel)))


def sharpen(settings: SharpenSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """An unsharp mask."""
    amount = between(random, settings.amount)

    def sharpened(pixels: Pixels) -> Pixels:
        blurred = _blurred(pixels, sigma_px=settings.sigma_px)
        return cast(Pixels, cv2.addWeighted(pixels, 1 + amount, blurred, -amount, 0))

    yield Paint(sharpened)


def jpeg(settings: JpegSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """With halved colour resolution, as cameras do."""
    quality = count_between(random, settings.quality)

    def compressed(pixels: Pixels) -> Pixels:
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorsubsampling="420")
        return cast(Pixels, simplejpeg.decode_jpeg(data))

    yield Paint(compressed)


def downscale(settings: DownscaleSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """Smaller by areas, larger by lines between pixels."""
    factor = between(random, settings.factor)
    small = max(1, round(width * factor)), max(1, round(height * factor))

    def scaled(pixels: Pixels) -> Pixels:
        reduced = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        return cast(Pixels, cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR))

    yield Paint(scaled)


def _bytes(random: np.random.Generator, *shape: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(random.bytes(math.prod(shape)), np.uint8).reshape(shape)


def _blurred(pixels: Pixels, *, sigma_px: float) -> Pixels:
    return pixels if sigma_px == 0 else cast(Pixels, cv2.GaussianBlur(pixels, (0, 0), sigma_px))


def _line(length_px: float, degrees: float) -> npt.NDArray[np.float32]:
    """A kernel of sum 1 with a line through its centre."""
    angle = math.radians(degrees)
    half = (length_px - 1) / 2
    reach = math.ceil(half)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for at in np.linspace(-half, half, 2 * reach + 1):
        kernel[reach - round(at * math.sin(angle)), reach + round(at * math.cos(angle))] += 1
    return np.asarray(kernel / kernel.sum(), np.float32)
