"""RandAugment and TrivialAugment: operations out of one published space each, without anything to search for.

Both choose among the same 14. What the strongest of each is, is in `RAND` (RandAugment, as torchvision has it) and in
`WIDE` (the wide space of TrivialAugment); a magnitude of 0 to 30 is that share of it. A sign is drawn for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final, Literal, cast

import cv2
import numpy as np

from vision_batch.images.augmentations.colour import VALUES, brightened, contrasted, looked_up, saturated
from vision_batch.images.augmentations.geometric import about_centre, moving, turning
from vision_batch.images.augmentations.settings import RandAugmentSettings, TrivialAugmentSettings
from vision_batch.images.augmentations.step import Matrix, Paint, Pixels, Step, Warp

STRONGEST: Final = 30
SMOOTH: Final = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # Pillow's ImageFilter.SMOOTH
# Shears are of a length per length, RandAugment's translations shares of a side, the other's pixels; Pillow's factors
# lie about 1; posterize takes bits away.
RAND: Final = {
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 150 / 331,
    "translate_y": 150 / 331,
    "rotate": 30,
    "brightness": 0.9,
    "color": 0.9,
    "contrast": 0.9,
    "sharpness": 0.9,
    "posterize": 4,
}
WIDE: Final = {
    "shear_x": 0.99,
    "shear_y": 0.99,
    "translate_x": 32,
    "translate_y": 32,
    "rotate": 135,
    "brightness": 0.99,
    "color": 0.99,
    "contrast": 0.99,
    "sharpness": 0.99,
    "posterize": 6,
}


def rand_augment(settings: RandAugmentSettings, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
    """`operations` of them, each as likely as any other, also twice."""
    space = {**RAND, "translate_x": RAND["translate_x"] * width, "translate_y": RAND["translate_y"] * height}
    for _ in range(settings.operations):
        yield from _one(space, random, settings.magnitude, (width, height), settings.fill)


def trivial_augment(
    settings: TrivialAugmentSettings, random: np.random.Generator, width: int, height: int
) -> Iterator[Step]:
    """One of them, of a magnitude that is drawn too."""
    magnitude = int(random.integers(0, STRONGEST, endpoint=True))
    yield from _one(WIDE, random, magnitude, (width, height), settings.fill)


def _one(
    space: Mapping[str, float],
    random: np.random.Generator,
    magnitude: int,
    size: tuple[int, int],
    fill: int | Literal["reflect"],
) -> Iterator[Step]:
    name = NAMES[random.integers(len(NAMES))]
    share = magnitude / STRONGEST
    signed = space.get(name, 0.0) * share * (1 if random.random() < 0.5 else -1)
    if name in MOVES:
        yield Warp(MOVES[name](signed, *size), fill)
    elif name in FACTORS:
        yield Paint(partial(FACTORS[name], factor=1 + signed))
    elif name == "posterize":
        yield Paint(partial(posterized, bits=8 - round(space[name] * share)))
    elif name == "solarize":
        yield Paint(partial(solarized, threshold=255 * (1 - share)))
    elif name != "identity":
        yield Paint(PLAIN[name])


def posterized(pixels: Pixels, *, bits: int) -> Pixels:
    """Pillow's ImageOps.posterize: the highest bits of each value."""
    return looked_up(pixels, np.arange(256) & (256 - (1 << (8 - bits))))


def solarized(pixels: Pixels, *, threshold: float) -> Pixels:
    """Pillow's ImageOps.solarize: values from the threshold on are inverted."""
    return looked_up(pixels, np.where(threshold <= VALUES, 255 - VALUES, VALUES))


def sharpened(pixels: Pixels, *, factor: float) -> Pixels:
    """Pillow's ImageEnhance.Sharpness, at the edges too."""
    return cast(Pixels, cv2.addWeighted(pixels, factor, cv2.filter2D(pixels, -1, SMOOTH), 1 - factor, 0))


def auto_contrasted(pixels: Pixels) -> Pixels:
    """Pillow's ImageOps.autocontrast: each channel's darkest value becomes 0, its brightest 255."""
    low, high = np.array([cv2.minMaxLoc(channel)[:2] for channel in cv2.split(pixels)]).T
    scale = 255 / np.where(high > low, high - low, 255)
    offset = np.where(high > low, low, 0)
    tables = ((VALUES[:, None] - offset) * scale)[None]
    return cast(Pixels, cv2.LUT(pixels, np.rint(tables).clip(0, 255).astype(np.uint8)))


def equalized(pixels: Pixels) -> Pixels:
    """Pillow's ImageOps.equalize: each channel's values spread evenly."""
    table = np.stack([_spread(pixels, channel) for channel in range(3)], axis=1)
    return cast(Pixels, cv2.LUT(pixels, table[None]))


def _spread(pixels: Pixels, channel: int) -> Pixels:
    """What each value of a channel becomes, (256,)."""
    counts = cv2.calcHist([pixels], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
    step = int(counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return np.arange(256, dtype=np.uint8)
    below = np.cumsum(counts) - counts
    return np.asarray(np.minimum((step // 2 + below) // step, 255), np.uint8)


MOVES: Final[Mapping[str, Callable[[float, int, int], Matrix]]] = {
    "shear_x": lambda share, width, height: np.array([[1.0, share, 0], [0, 1, 0], [0, 0, 1]]),
    "shear_y": lambda share, width, height: np.array([[1.0, 0, 0], [share, 1, 0], [0, 0, 1]]),
    "translate_x": lambda pixels, width, height: moving(pixels, 0),
    "translate_y": lambda pixels, width, height: moving(0, pixels),
    "rotate": lambda degrees, width, height: about_centre(turning(degrees), width, height),
}
FACTORS: Final[Mapping[str, Callable[..., Pixels]]] = {
    "brightness": brightened,
    "color": saturated,
    "contrast": contrasted,
    "sharpness": sharpened,
}
PLAIN: Final[Mapping[str, Callable[[Pixels], Pixels]]] = {"auto_contrast": auto_contrasted, "equalize": equalized}
NAMES: Final = ("identity", *MOVES, *FACTORS, "posterize", "solarize", *PLAIN)
