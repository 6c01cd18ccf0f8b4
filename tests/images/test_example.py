"""Examples: pixels as in serving, places that follow them, and the same again whenever and wherever they are made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.images.pictures import encoded, oriented, photo
from vision_batch.errors import ImageError
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.example import Annotation, Example, ExampleMaker
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.resize import limit_threads
from vision_batch.images.settings import PreprocessSettings

STEPS = [
    {"resize_px": (64, 96)},
    {"resize_shorter_px": 72, "crop_px": 64},
    {"letterbox_px": 80},
    {"crop_px": 120},
]
EVERYTHING = [name for name in AugmentSettings.model_fields if name != "random_resized_crop"]


def maker(steps: dict[str, Any], *augment: Any, **options: Any) -> ExampleMaker:
    entries = [AugmentSettings.model_validate(entry) for entry in augment]
    options = {"max_pixels": 10_000_000, "seed": 0, **options}
    return ExampleMaker(PreprocessSettings(**steps), entries, **options)


def served(steps: dict[str, Any], data: bytes) -> np.ndarray:
    return Preprocessor(PreprocessSettings(**steps), max_pixels=10_000_000)(data).pixels


def same(one: Example, other: Example) -> bool:
    parts = ("pixels", "mask", "boxes", "box_labels")
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in parts)


class TestAsServed:
    @pytest.mark.parametrize("steps", STEPS, ids=str)
    @pytest.mark.parametrize("format", ["JPEG", "PNG"])
    @pytest.mark.parametrize("augment", [(), ("horizontal_flip", "random_resized_crop"), ("random_resized_crop",)])
    def test_without_an_epoch_pixels_are_those_of_a_predict_job(
        self, steps: dict[str, Any], format: str, augment: tuple[str, ...]
    ) -> None:
        data = oriented(photo(301, 203), format, 6)
        example = maker(steps, *augment)(data, identity=3, epoch=None)
        assert np.array_equal(example.pixels, served(steps, data))
        assert (example.width, example.height, example.mask, example.boxes) == (203, 301, None, None)

    @pytest.mark.parametrize("steps", STEPS, ids=str)
    def test_settings_that_do_nothing_change_nothing(self, steps: dict[str, Any]) -> None:
        data = encoded(photo(301, 203), "JPEG")
        example = maker(steps, *({name: {"p": 0}} for name in EVERYTHING))(data, identity=3, epoch=5)
        assert np.array_equal(example.pixels, served(steps, data))
        skipped = maker(steps, {"random_resized_crop": {"p": 0}})(data, identity=3, epoch=5)
        assert np.array_equal(skipped.pixels, served(steps, data))

    def test_a_plug_in_function_comes_before_everything(self) -> None:
        data = encoded(photo(301, 203), "PNG")
        make = maker({"resize_px": (64, 96)}, "random_resized_crop", function=lambda pixels: pixels // 2)
        assert make(data, identity=0, epoch=1).pixels.max() <= 127


class TestRandomness:
    AUGMENT = ({"random_resized_crop": {"scale": (0.3, 1)}}, *EVERYTHING)

    def test_an_image_in_an_epoch_looks_the_same_whatever_the_order_and_the_thread(self) -> None:
        make = maker({"resize_px": (48, 64)}, *self.AUGMENT)
        files = [encoded(photo(150 + n, 100, n), "JPEG") for n in range(6)]
        wanted = [(identity, epoch) for identity in range(6) for epoch in range(3)]

        def made(which: tuple[int, int]) -> Example:
            return make(files[which[0]], identity=which[0], epoch=which[1])

        in_order = {which: made(which) for which in wanted}
        with ThreadPoolExecutor(4, initializer=limit_threads) as pool:
            others = dict(zip(wanted[::-1], pool.map(made, wanted[::-1]), strict=True))
        assert all(same(in_order[which], others[which]) for which in wanted)
        another = maker({"resize_px": (48, 64)}, *self.AUGMENT)
        assert same(another(files[0], identity=0, epoch=0), in_order[0, 0])

    def test_seeds_images_and_epochs_differ(self) -> None:
        data = encoded(photo(150, 100), "JPEG")
        pictures = [
            maker({"resize_px": (48, 64)}, {"rotate": {"degrees": 40}}, seed=seed)(
                data, identity=identity, epoch=epoch
            ).pixels.tobytes()
            for seed in (0, 1)
            for identity in (0, 1, 2**64 - 1, 2**63)
            for epoch in (0, 1, 1000)
        ]
        assert len(set(pictures)) == len(pictures)


class TestPlaces:
    """A coloured block, drawn into the image: the mask and the box say where its colour is."""

    COLOUR = (250, 10, 200)

    def scene(self, width: int, height: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, Annotation]:
        pixels = np.full((height, width, 3), 40, np.uint8)
        mask = np.zeros((height, width), np.uint8)
        x_min, y_min, x_max, y_max = box
        pixels[y_min:y_max, x_min:x_max] = self.COLOUR
        mask[y_min:y_max, x_min:x_max] = 7
        boxes = np.array([box], np.float32)
        return pixels, Annotation(mask=mask, boxes=boxes, box_labels=np.array([3]))

    def is_block(self, pixels: np.ndarray) -> np.ndarray:
        return np.abs(pixels.astype(int) - self.COLOUR).max(axis=2) < 105

    @settings(max_examples=60, deadline=None)
    @given(
        steps=st.sampled_from(STEPS),
        crop=st.booleans(),
        identity=st.integers(0, 2**64 - 1),
        orientation=st.integers(1, 8),
        format=st.sampled_from(["PNG", "JPEG"]),
        size=st.tuples(st.integers(250, 700), st.integers(250, 700)),
    )
    def test_mask_and_box_are_where_the_block_is(
        self,
        steps: dict[str, Any],
        crop: bool,
        identity: int,
        orientation: int,
        format: str,
        size: tuple[int, int],
    ) -> None:
        width, height = size
        place = (width // 4, height // 3, width * 5 // 6, height * 3 // 4)
        shown, annotation = self.scene(width, height, place)
        stored = _stored(shown, orientation)
        options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
        data = oriented(Image.fromarray(stored), format, orientation, **options)
        augment = [{"random_resized_crop": {"scale": (0.4, 1)}}] if crop else []
        example = maker(steps, *augment, min_box_share=0)(data, annotation, identity=identity, epoch=2)
        found = self.is_block(example.pixels)
        assert example.mask is not None
        assert example.boxes is not None
        disagree = found != (example.mask == 7)
        assert not (_eroded(found) & (example.mask != 7)).any()
        assert not (_eroded(example.mask == 7) & ~found).any()
        assert disagree.mean() < 0.1
        if found.any():
            rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
            seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert np.abs(example.boxes[0] - seen).max() <= 1.01
            assert example.box_labels is not None
            assert example.box_labels.tolist() == [3]

    def test_outside_of_the_image_the_mask_is_ignored(self) -> None:
        pixels, annotation = self.scene(40, 20, (0, 0, 40, 20))
        example = maker({"letterbox_px": 80})(encoded(Image.fromarray(pixels), "PNG"), annotation, identity=0, epoch=0)
        assert example.mask is not None
        assert (example.mask[:20] == 255).all()
        assert (example.mask[20:60] == 7).all()
        assert (example.mask[60:] == 255).all()
        wide = Annotation(mask=np.full((20, 40), 300, np.uint16))
        example = maker({"letterbox_px": 80})(encoded(Image.fromarray(pixels), "PNG"), wide, identity=0, epoch=0)
        assert example.mask is not None
        assert set(np.unique(example.mask)) == {300, 65535}

    @pytest.mark.parametrize(("min_share", "kept"), [(0.2, [1, 2]), (0.3, [2]), (0.0, [1, 2])])
    def test_boxes_are_clipped_and_dropped_where_too_little_is_left(self, min_share: float, kept: list[int]) -> None:
        """The middle 50 of 100 columns are seen."""
        boxes = np.array([[0, 0, 20, 10], [10, 0, 30, 10], [30, 5, 60, 10]], np.float32)
        annotation = Annotation(boxes=boxes, box_labels=np.arange(3))
        make = maker({"crop_px": 50}, min_box_share=min_share)
        example = make(encoded(photo(100, 50), "PNG"), annotation, identity=0, epoch=0)
        assert example.boxes is not None
        assert example.box_labels is not None
        assert example.box_labels.tolist() == kept
        everything = {1: [0, 0, 5, 10], 2: [5, 5, 35, 10]}
        assert example.boxes.tolist() == [everything[label] for label in kept]

    def test_an_image_without_objects_has_none(self) -> None:
        none = Annotation(boxes=np.zeros((0, 4), np.float32), box_labels=np.zeros(0, np.int64))
        example = maker({"crop_px": 50}, *EVERYTHING)(encoded(photo(100, 50), "PNG"), none, identity=0, epoch=0)
        assert example.boxes is not None
        assert example.boxes.shape == (0, 4)

    def test_a_mask_of_another_size_is_refused_with_the_size_of_the_image(self) -> None:
        with pytest.raises(ImageError, match="a mask of 5 x 4 pixels for an image of 150 x 200") as error:
            maker({})(
                oriented(photo(200, 150), "JPEG", 6), Annotation(mask=np.zeros((4, 5), np.uint8)), identity=0, epoch=0
            )
        assert (error.value.code, error.value.width, error.value.height) == ("invalid_label", 150, 200)

    def test_a_plug_in_that_gives_another_size_leaves_no_place_for_a_mask(self) -> None:
        data = encoded(photo(20, 10), "PNG")
        mask = Annotation(mask=np.zeros((10, 20), np.uint8))
        assert maker({}, function=lambda pixels: 255 - pixels)(data, mask, identity=0, epoch=0).mask is not None
        with pytest.raises(ImageError, match="another size") as error:
            maker({}, function=lambda pixels: pixels[::2])(data, mask, identity=0, epoch=0)
        assert error.value.code == "invalid_label"


def test_a_broken_image_is_an_image_error() -> None:
    with pytest.raises(ImageError) as error:
        maker({"crop_px": 9}, "random_resized_crop")(encoded(photo(), "JPEG")[:-99], identity=0, epoch=0)
    assert error.value.code == "truncated"


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (3, 2), (2000, 9)])
def test_hostile_sizes(size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size, (200, 100, 50)), "PNG")
    annotation = Annotation(
        mask=np.ones(size[::-1], np.uint8), boxes=np.array([[0, 0, *size]], np.float32), box_labels=np.zeros(1, int)
    )
    for steps in ({"resize_px": (32, 32)}, {"letterbox_px": 32}, {"crop_px": 1}, {}):
        for epoch in range(3):
            example = maker(steps, "random_resized_crop", *({name: {"p": 1}} for name in EVERYTHING))(
                data, annotation, identity=0, epoch=epoch
            )
            assert example.pixels.shape[:2] == served(steps, data).shape[:2]
            assert example.pixels.dtype == np.uint8
            assert example.pixels.flags.c_contiguous


def _stored(shown: np.ndarray, orientation: int) -> np.ndarray:
    """What, oriented, is `shown`: each orientation's own undoing."""
    undone = {6: 8, 8: 6}.get(orientation, orientation)
    turned = np.swapaxes(shown, 0, 1) if undone > 4 else shown
    turned = turned[:, ::-1] if undone in (2, 3, 6, 7) else turned
    return np.ascontiguousarray(turned[::-1] if undone in (3, 4, 7, 8) else turned)


def _eroded(seen: np.ndarray) -> np.ndarray:
    """Without its outermost pixels, and those at the picture's edge: there a region's filter sees but one side."""
    padded = np.pad(seen, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & seen
