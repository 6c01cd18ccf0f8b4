"""Every operation: it changes something, the same every time, and only what is its to change."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.images.pictures import photo
from vision_batch.images.augment import Augmentation, random_for
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.augmentations.table import OPERATIONS
from vision_batch.images.frame import Boxes, Frame

MOVING = ("random_resized_crop", "horizontal_flip", "vertical_flip", "rotate", "affine", "perspective", "elastic")
POLICIES = ("rand_augment", "trivial_augment")
COLOURING = tuple(name for name in OPERATIONS if name not in (*MOVING, *POLICIES))
NOTHING: list[dict[str, dict[str, Any]]] = [
    {"random_resized_crop": {"scale": (1, 1), "ratio": (0.01, 100)}},
    {"rotate": {"degrees": 0}},
    {"affine": {"degrees": 0, "translate": 0, "scale": (1, 1), "shear_degrees": 0}},
    {"perspective": {"shift": 0}},
    {"elastic": {"shift": 0}},
    {"brightness": {"factor": (1, 1)}},
    {"contrast": {"factor": (1, 1)}},
    {"saturation": {"factor": (1, 1)}},
    {"hue": {"degrees": 0}},
    {"gamma": {"gamma": (1, 1)}},
    {"uneven_light": {"factor": (1, 1)}},
    {"gaussian_noise": {"levels": (0, 0)}},
    {"iso_noise": {"levels": (0, 0)}},
    {"blur": {"sigma_px": (0, 0)}},
    {"motion_blur": {"length_px": (1, 1)}},
    {"sharpen": {"amount": (0, 0)}},
    {"downscale": {"factor": (1, 1)}},
    {"occlusion": {"count": (0, 0)}},
    {"cut_out": {"size": (0, 0)}},
    {"missing_bands": {"size": (0, 0)}},
    {"grid_mask": {"hidden": (0, 0)}},
    {"rand_augment": {"operations": 0}},
]


def augmentation(*entries: Any, min_share: float = 0.1) -> Augmentation:
    return Augmentation([AugmentSettings.model_validate(entry) for entry in entries], min_share=min_share)


@cache
def picture(width: int = 96, height: int = 64) -> Frame:
    pixels = np.array(photo(width, height))
    pixels.flags.writeable = False
    mask = np.indices((height, width)).sum(axis=0).astype(np.uint8) // 16
    corners = np.array([[10, 20, 50, 40]], np.float32)
    boxes = Boxes(corners=corners, labels=np.array([5]), shares=np.ones(1, np.float32))
    return Frame(pixels=pixels, mask=mask, boxes=boxes)


def always(name: str, **settings: Any) -> dict[str, Any]:
    return {name: {"p": 1, **settings}}


def test_every_operation_of_the_settings_is_there() -> None:
    assert list(OPERATIONS) == list(AugmentSettings.model_fields)
    assert {next(iter(entry)) for entry in NOTHING} == set(OPERATIONS) - {
        "horizontal_flip",
        "vertical_flip",
        "jpeg",
        "trivial_augment",
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_changes_pixels_and_gives_what_the_model_takes(name: str) -> None:
    augment, frame = augmentation(always(name)), picture()
    before = frame.pixels.copy()
    results = [augment(frame, random_for(0, identity, 0)).pixels for identity in range(12)]
    assert sum(not np.array_equal(pixels, before) for pixels in results) >= 8
    assert len({pixels.tobytes() for pixels in results}) >= (1 if name.endswith("_flip") else 8)
    for pixels in results:
        assert (pixels.dtype, pixels.shape, pixels.flags.c_contiguous) == (np.uint8, before.shape, True)
    assert np.array_equal(frame.pixels, before)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_probability_is_that_of_the_operation(name: str) -> None:
    augment, frame = augmentation({name: {"p": 0}}), picture()
    assert augment(frame, random_for(0, 1, 2)) is frame
    if name.endswith("_flip"):
        half = augmentation(name)
        changed = sum(half(frame, random_for(0, n, 0)) is not frame for n in range(400))
        assert 150 < changed < 250


@pytest.mark.parametrize("entry", NOTHING, ids=lambda entry: next(iter(entry)))
def test_settings_that_do_nothing_change_nothing(entry: dict[str, Any]) -> None:
    frame = picture()
    (name,) = entry
    augment = augmentation({name: {**entry[name], "p": 1}})
    for identity in range(5):
        result = augment(frame, random_for(0, identity, 0))
        assert np.array_equal(result.pixels, frame.pixels)
        assert np.array_equal(result.mask, frame.mask)  # type: ignore[arg-type]
        assert result.boxes is not None
        assert result.boxes.corners.tolist() == [[10, 20, 50, 40]]


@pytest.mark.parametrize("name", COLOURING)
def test_operations_on_colours_leave_masks_and_boxes_untouched(name: str) -> None:
    frame = picture()
    result = augmentation(always(name))(frame, random_for(0, 1, 2))
    assert result.mask is frame.mask
    assert result.boxes is frame.boxes


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3), (1500, 900)], ids=str)
def test_any_size_stays(name: str, size: tuple[int, int]) -> None:
    width, height = size
    frame = Frame(
        pixels=np.asarray(photo(width, height)),
        mask=np.ones((height, width), np.uint16),
        boxes=Boxes(
            corners=np.array([[0, 0, width, height]], np.float32),
            labels=np.zeros(1, np.int64),
            shares=np.ones(1, np.float32),
        ),
    )
    for identity in range(1 if width > 1000 else 8):
        result = augmentation(always(name))(frame, random_for(0, identity, 0))
        assert result.pixels.shape == (height, width, 3)
        assert result.mask is not None
        assert (result.mask.dtype, result.mask.shape) == (np.uint16, (height, width))


class TestRanges:
    """What the drawn value is can be seen in the pixels."""

    def grey(self, value: int, width: int = 64, height: int = 64) -> Frame:
        return Frame(pixels=np.full((height, width, 3), value, np.uint8))

    def means(self, entry: dict[str, Any], frame: Frame, count: int = 200) -> list[float]:
        augment = augmentation(entry)
        return [float(augment(frame, random_for(0, n, 0)).pixels.mean()) for n in range(count)]

    def test_brightness_is_evenly_distributed_within_its_bounds(self) -> None:
        means = self.means({"brightness": {"factor": (0.5, 1.5)}}, self.grey(100), count=1000)
        assert 50 <= min(means) < 52
        assert 148 < max(means) <= 150
        assert abs(np.mean(means) - 100) < 3

    def test_gamma(self) -> None:
        (mean,) = set(self.means({"gamma": {"gamma": (2, 2)}}, self.grey(100), count=3))
        assert mean == round(255 * (100 / 255) ** 2)

    def test_contrast_is_about_the_mean(self) -> None:
        pixels = np.zeros((10, 10, 3), np.uint8)
        pixels[:5], pixels[5:] = 100, 140
        result = augmentation({"contrast": {"factor": (0.5, 0.5)}})(Frame(pixels=pixels), random_for(0, 0, 0))
        assert set(np.unique(result.pixels)) == {110, 130}

    def test_saturation_of_zero_is_grey_and_greys_stay_grey(self) -> None:
        result = augmentation({"saturation": {"factor": (0, 0)}})(picture(), random_for(0, 0, 0)).pixels.astype(int)
        assert np.ptp(result, axis=2).max() <= 1
        for entry in ({"saturation": {"factor": (0, 3)}}, {"hue": {"degrees": 180}}):
            assert set(self.means(entry, self.grey(77), count=20)) == {77}

    def test_a_hue_of_a_third_of_the_circle_makes_red_green(self) -> None:
        red = Frame(pixels=np.full((2, 2, 3), (200, 30, 30), np.uint8))
        result = augmentation({"hue": {"degrees": (120, 120)}})(red, random_for(0, 0, 0))
        assert result.pixels[0, 0].tolist() == [30, 200, 30]

    @pytest.mark.parametrize("levels", [3, 20])
    def test_gaussian_noise_has_its_deviation_and_no_bias(self, levels: int) -> None:
        frame = self.grey(128, 200, 200)
        noisy = augmentation(always("gaussian_noise", levels=(levels, levels)))(frame, random_for(0, 0, 0)).pixels
        assert abs(noisy.std() - levels) < 0.03 * levels + 0.1
        assert abs(noisy.mean() - 128) < 0.3

    def test_iso_noise_grows_with_the_root_of_the_light_and_is_partly_of_one_colour(self) -> None:
        def noise(value: int, colour: float) -> np.ndarray:
            entry = always("iso_noise", levels=(20, 20), colour=(colour, colour))
            return augmentation(entry)(self.grey(value, 200, 200), random_for(0, 0, 0)).pixels.astype(int)

        assert abs(noise(128, 1).std() - 20 * (128 / 255) ** 0.5) < 0.5
        assert abs(noise(32, 1).std() - 20 * (32 / 255) ** 0.5) < 0.5
        assert np.ptp(noise(128, 0), axis=2).max() == 0
        assert np.ptp(noise(128, 1), axis=2).mean() > 15

    def test_jpeg_of_less_quality_differs_more(self) -> None:
        def loss(quality: int) -> float:
            result = augmentation(always("jpeg", quality=(quality, quality)))(picture(), random_for(0, 0, 0))
            return float(np.abs(result.pixels.astype(int) - picture().pixels).mean())

        assert loss(5) > loss(40) > loss(95)

    def test_motion_blurs_along_its_line(self) -> None:
        pixels = np.zeros((41, 41, 3), np.uint8)
        pixels[20, 20] = 255
        for degrees, across in ((0, True), (90, False)):
            entry = always("motion_blur", length_px=(9, 9), degrees=(degrees, degrees))
            seen = augmentation(entry)(Frame(pixels=pixels), random_for(0, 0, 0)).pixels[..., 0] > 0
            rows, columns = seen.any(axis=1).sum(), seen.any(axis=0).sum()
            assert (columns, rows) == ((9, 1) if across else (1, 9))

    def test_blur_takes_away_what_sharpening_adds(self) -> None:
        def contrast(entry: dict[str, Any]) -> float:
            return float(augmentation(entry)(picture(), random_for(0, 0, 0)).pixels.std())

        assert contrast(always("blur", sigma_px=(2, 2))) < picture().pixels.std() < contrast(always("sharpen"))

    def test_cut_out_and_grid_hide_their_share(self) -> None:
        hidden = 1 - np.mean(self.means(always("cut_out", size=(0.3, 0.3)), self.grey(200))) / 200
        assert 0.05 < hidden <= 0.09
        squares = self.means(always("grid_mask", cell=(0.25, 0.25), hidden=(0.5, 0.5)), self.grey(200))
        assert {round(1 - mean / 200, 3) for mean in squares} == {0.25}

    def test_bands_are_whole_rows_or_columns(self) -> None:
        for direction, axis in (("rows", 1), ("columns", 0)):
            entry = always("missing_bands", direction=direction, count=(1, 1), size=(0.1, 0.1))
            missing = augmentation(entry)(self.grey(9), random_for(0, 0, 0)).pixels[..., 0] == 0
            assert missing.all(axis=axis).sum() == 6
            assert missing.sum() == 6 * 64

    def test_counts_reach_both_their_bounds(self) -> None:
        entry = always("missing_bands", count=(1, 2), size=(0.02, 0.02))
        assert {round(64 * (1 - mean / 200)) for mean in self.means(entry, self.grey(200))} == {1, 2}


class TestPolicies:
    def test_rand_augment_of_no_magnitude_changes_little_and_of_more_more(self) -> None:
        def change(magnitude: int) -> float:
            augment = augmentation({"rand_augment": {"magnitude": magnitude}})
            results = [augment(picture(), random_for(0, n, 0)).pixels.astype(int) for n in range(60)]
            return float(np.mean([np.abs(result - picture().pixels).mean() for result in results]))

        assert change(0) < change(10) < change(30)

    def test_moves_of_a_policy_move_masks_and_boxes(self) -> None:
        augment, frame = augmentation({"rand_augment": {"operations": 4}}, min_share=0), picture()
        results = [augment(frame, random_for(0, n, 0)) for n in range(20)]
        assert any(not np.array_equal(result.mask, frame.mask) for result in results)  # type: ignore[arg-type]


def test_the_numbers_of_an_image_in_an_epoch_are_those_of_philox_for_ever() -> None:
    """A run that is resumed with a newer version goes on as it began."""
    assert random_for(1, 2, 3).bytes(8).hex() == "f789819cdbab3d10"
    assert random_for(0, np.uint64(2**64 - 1), 0).random() == random_for(2**64, -1, 0).random()  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(st.sampled_from(list(OPERATIONS)), max_size=5),
    seed=st.integers(-(2**70), 2**70),
    identity=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 10**6),
)
def test_the_same_numbers_give_the_same_pixels(names: list[str], seed: int, identity: int, epoch: int) -> None:
    one, other = (augmentation(*names)(picture(), random_for(seed, identity, epoch)) for _ in range(2))
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.mask, other.mask)  # type: ignore[arg-type]
