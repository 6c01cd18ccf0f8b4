"""RandAugment and TrivialAugment: the published operations, as Pillow does them, in the published strengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from tests.images.pictures import difference, photos
from vision_batch.images.augment import random_for
from vision_batch.images.augmentations.colour import brightened, contrasted, saturated
from vision_batch.images.augmentations.policy import (
    NAMES,
    auto_contrasted,
    equalized,
    posterized,
    rand_augment,
    sharpened,
    solarized,
    trivial_augment,
)
from vision_batch.images.augmentations.settings import RandAugmentSettings, TrivialAugmentSettings
from vision_batch.images.augmentations.step import Paint, Warp

FACTORS = [0.0, 0.1, 0.73, 1.0, 1.4, 1.99]
WIDTH, HEIGHT = 331, 200


def theirs(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.int64)


@pytest.mark.parametrize(
    ("ours", "pillows"),
    [
        (brightened, ImageEnhance.Brightness),
        (saturated, ImageEnhance.Color),
        (contrasted, ImageEnhance.Contrast),
        (sharpened, ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize("factor", FACTORS)
def test_factors_are_pillows(ours: Callable[..., np.ndarray], pillows: Any, factor: float) -> None:
    for image in photos()[:3]:
        expected = theirs(pillows(image).enhance(factor))[1:-1, 1:-1]
        assert difference(ours(np.asarray(image), factor=factor)[1:-1, 1:-1], expected) < 1


@pytest.mark.parametrize("bits", [8, 7, 4, 2])
def test_posterize_is_pillows(bits: int) -> None:
    for image in photos()[:3]:
        assert np.array_equal(posterized(np.asarray(image), bits=bits), ImageOps.posterize(image, bits))


@pytest.mark.parametrize("threshold", [0, 1, 100, 255])
def test_solarize_is_pillows(threshold: int) -> None:
    for image in photos()[:3]:
        assert np.array_equal(solarized(np.asarray(image), threshold=threshold), ImageOps.solarize(image, threshold))


def test_auto_contrast_and_equalize_are_pillows() -> None:
    for image in photos():
        faint = Image.fromarray((np.asarray(image) // 3 + 60).astype(np.uint8))
        assert difference(auto_contrasted(np.asarray(faint)), theirs(ImageOps.autocontrast(faint))) < 1
        assert np.array_equal(equalized(np.asarray(faint)), ImageOps.equalize(faint))
    flat = np.full((5, 5, 3), 77, np.uint8)
    assert np.array_equal(auto_contrasted(flat), flat)
    assert np.array_equal(equalized(flat), flat)


def drawn(policy: str, number: int, **settings: Any) -> list[Paint | Warp]:
    random = random_for(0, number, 0)
    if policy == "rand_augment":
        return list(rand_augment(RandAugmentSettings(**settings), random, WIDTH, HEIGHT))  # type: ignore[arg-type]
    return list(trivial_augment(TrivialAugmentSettings(), random, WIDTH, HEIGHT))  # type: ignore[arg-type]


def test_there_are_14() -> None:
    published = {"identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color"}
    published |= {"contrast", "sharpness", "posterize", "solarize", "auto_contrast", "equalize"}
    assert set(NAMES) == published
    assert len(NAMES) == 14


@pytest.mark.parametrize("policy", ["rand_augment", "trivial_augment"])
def test_each_is_as_likely_as_any_other(policy: str) -> None:
    """Five moves, eight paints, and the identity, which has no step."""
    draws = [drawn(policy, number, **({"operations": 1} if policy == "rand_augment" else {})) for number in range(2800)]
    counts = {
        "moves": sum(any(isinstance(step, Warp) for step in steps) for steps in draws),
        "paints": sum(any(isinstance(step, Paint) for step in steps) for steps in draws),
        "nothing": sum(not steps for steps in draws),
    }
    for kind, share in (("moves", 5), ("paints", 8), ("nothing", 1)):
        assert abs(counts[kind] - 200 * share) < 5 * (200 * share) ** 0.5, counts


def test_rand_augment_does_so_many() -> None:
    lengths = [len(drawn("rand_augment", number, operations=3)) for number in range(100)]
    assert max(lengths) == 3
    assert min(lengths) >= 1


def strongest(policy: str, **settings: Any) -> np.ndarray:
    """Of many drawn matrices the largest of each entry."""
    steps = [step for number in range(3000) for step in drawn(policy, number, **settings)]
    return np.max([np.abs(step.matrix) for step in steps if isinstance(step, Warp)], axis=0)


def test_rand_augments_strengths_are_shares_of_the_published_ones() -> None:
    for magnitude in (30, 15):
        share = magnitude / 30
        found = strongest("rand_augment", operations=1, magnitude=magnitude)
        assert found[0, 1] == pytest.approx(max(0.3 * share, np.sin(np.radians(30 * share))))
        assert found[0, 2] >= 150 * share
        assert found[1, 2] >= HEIGHT * 150 / 331 * share


def test_trivial_augments_strengths_are_those_of_the_wide_space() -> None:
    found = strongest("trivial_augment")
    assert found[0, 1] == pytest.approx(1, abs=0.02)  # the sine of 90 degrees, of up to 135; shears reach 0.99
    steps = [step for number in range(3000) for step in drawn("trivial_augment", number)]
    moved = {
        abs(step.matrix[0, 2])
        for step in steps
        if isinstance(step, Warp) and np.array_equal(step.matrix[:2, :2], np.eye(2))
    }
    assert max(moved) == 32
    assert len(moved) == 31


@pytest.mark.parametrize("policy", ["rand_augment", "trivial_augment"])
def test_no_paint_fails_at_any_strength(policy: str) -> None:
    pixels = np.asarray(photos()[0].resize((32, 24)))
    for number in range(300):
        for step in drawn(policy, number, **({"magnitude": number % 31} if policy == "rand_augment" else {})):
            if isinstance(step, Paint):
                painted = step.function(pixels)
                assert (painted.dtype, painted.shape) == (np.uint8, pixels.shape)
