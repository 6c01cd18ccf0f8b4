"""The whole way of one image: its pixels agree with Pillow's, its failures are ImageErrors."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.images.pictures import as_pillow, difference, encoded, oriented, photo, photos
from vision_batch.errors import ImageError
from vision_batch.images import preprocess as preprocess_module
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.resize import limit_threads
from vision_batch.images.settings import PreprocessSettings

MAX_PIXELS = 178_956_970
INTERPOLATIONS = ["bilinear", "bicubic"]


def preprocessor(**settings: Any) -> Preprocessor:
    return Preprocessor(PreprocessSettings(**settings), max_pixels=MAX_PIXELS)


def scaled_up(image: Image.Image, shorter: int) -> Image.Image:
    factor = shorter / min(image.size)
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def shorter_and_crop(data: bytes, side: int, crop: int, interpolation: str = "bilinear") -> np.ndarray:
    """torchvision's Resize(side) and transformers' centre crop, with Pillow."""
    image = Image.fromarray(as_pillow(data).astype(np.uint8))
    width, height = image.size
    size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    left, top = (size[0] - crop) // 2, (size[1] - crop) // 2
    resized = image.resize(size, Image.Resampling[interpolation.upper()])
    return np.asarray(resized.crop((left, top, left + crop, top + crop))).astype(np.int64)


class TestAgreesWithPillow:
    """Within a mean of 1 of 255, scaled decoding included."""

    @pytest.mark.parametrize("shorter", [180, 375, 512, 960, 1040])
    @pytest.mark.parametrize("which", range(6))
    def test_shorter_and_crop(self, which: int, shorter: int) -> None:
        data = encoded(scaled_up(photos()[which], shorter), "JPEG", quality=90)
        for interpolation in INTERPOLATIONS:
            ours = preprocessor(resize_shorter_px=256, crop_px=224, interpolation=interpolation)(data)
            assert difference(ours.pixels, shorter_and_crop(data, 256, 224, interpolation)) < 1

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize("factor", [1.9, 3.75, 4.1, 4.9, 5.1, 10.1, 20.1])
    def test_around_the_limits_of_scaled_decoding(self, factor: float, interpolation: str) -> None:
        for image in photos():
            data = encoded(scaled_up(image, round(64 * factor)), "JPEG", quality=90)
            ours = preprocessor(resize_shorter_px=64, crop_px=56, interpolation=interpolation)(data)
            assert difference(ours.pixels, shorter_and_crop(data, 64, 56, interpolation)) < 1

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize("size", [(224, 224), (100, 300), (513, 31)])
    @pytest.mark.parametrize("format", ["JPEG", "BMP"])
    def test_resize(self, format: str, size: tuple[int, int], interpolation: str) -> None:
        for image in photos():
            data = encoded(image, format)
            shown = Image.fromarray(as_pillow(data).astype(np.uint8))
            theirs = shown.resize(size[::-1], Image.Resampling[interpolation.upper()])
            ours = preprocessor(resize_px=size, interpolation=interpolation)(data)
            assert difference(ours.pixels, np.asarray(theirs).astype(int)) < 1

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    @pytest.mark.parametrize("format", ["JPEG", "PNG"])
    def test_a_crop_that_ends_at_the_pictures_own_width_or_height(self, format: str, interpolation: str) -> None:
        """Then as many columns (of 58 x 68) or rows (of 54 x 64) are computed as there are."""
        for size in ((58, 68), (54, 64), (68, 58), (64, 54)):
            data = encoded(photo(*size), format, **({"quality": 95} if format == "JPEG" else {}))
            ours = preprocessor(resize_shorter_px=60, crop_px=56, interpolation=interpolation)(data)
            assert difference(ours.pixels, shorter_and_crop(data, 60, 56, interpolation)) < 1

    @pytest.mark.parametrize("side", [64, 300, 641])
    def test_letterbox(self, side: int) -> None:
        for image in photos():
            data = encoded(image, "JPEG", quality=90)
            scale = side / max(image.size)
            size = round(image.width * scale), round(image.height * scale)
            theirs = Image.new("RGB", (side, side), (114, 114, 114))
            resized = Image.fromarray(as_pillow(data).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
            theirs.paste(resized, ((side - size[0]) // 2, (side - size[1]) // 2))
            ours = preprocessor(letterbox_px=side)(data)
            assert difference(ours.pixels, np.asarray(theirs).astype(int)) < 1

    def test_a_crop_larger_than_the_picture_is_padded_with_black(self) -> None:
        ours = preprocessor(crop_px=300)(encoded(photo(200, 150), "PNG")).pixels
        assert np.array_equal(ours[75:225, 50:250], np.asarray(photo(200, 150)))
        assert ours.sum() == np.asarray(photo(200, 150)).sum()

    @pytest.mark.parametrize("orientation", [1, 3, 6])
    def test_a_bounded_picture_has_black_beside_or_below_it(self, orientation: int) -> None:
        ours = preprocessor(resize_shorter_px=60, longest_px=80)(oriented(photo(200, 100), "PNG", orientation))
        alone = preprocessor(resize_px=(80, 40) if orientation == 6 else (40, 80))
        height, width = (80, 40) if orientation == 6 else (40, 80)
        picture = alone(oriented(photo(200, 100), "PNG", orientation)).pixels
        assert np.array_equal(ours.pixels[:height, :width], picture)
        assert ours.pixels.sum() == picture.sum()


class TestResult:
    def test_no_steps_give_the_picture_as_it_is(self) -> None:
        ours = preprocessor()(oriented(photo(200, 150), "PNG", 6))
        assert ours.pixels.shape == (200, 150, 3)
        assert (ours.width, ours.height) == (150, 200)

    @pytest.mark.parametrize("orientation", [1, 2, 6])
    @pytest.mark.parametrize(
        "steps",
        [
            {},
            {"crop_px": 31},
            {"resize_shorter_px": 50},
            {"resize_px": (40, 60)},
            {"letterbox_px": 96, "crop_px": 90},
            {"resize_shorter_px": 50, "longest_px": 80, "round_up_px": 32},
            {"resize_shorter_px": 50, "longest_px": 80, "round_down_px": 16},
        ],
        ids=str,
    )
    def test_is_contiguous_uint8_with_the_promised_shape(self, steps: dict[str, Any], orientation: int) -> None:
        for width, height in ((200, 150), (150, 1000), (1, 1)):
            ours = preprocessor(**steps)(oriented(photo(width, height), "JPEG", orientation))
            assert ours.pixels.dtype == np.uint8
            assert ours.pixels.flags.c_contiguous
            assert ours.pixels.flags.writeable
            promised = PreprocessSettings(**steps).output_px
            assert promised is None or ours.pixels.shape == (*promised, 3)

    def test_size_is_the_full_image_also_where_the_decoder_scales(self) -> None:
        ours = preprocessor(resize_shorter_px=32)(oriented(photo(1001, 601), "JPEG", 8))
        assert (ours.width, ours.height) == (601, 1001)
        assert ours.geometry.scale_x == pytest.approx(601 / 32)

    def test_a_point_is_found_again_in_the_full_image(self) -> None:
        """A white square on black, seen by the model at its centre of mass, lies where it was drawn."""
        canvas = np.zeros((600, 900, 3), np.uint8)
        canvas[200:240, 500:540] = 255
        bounded = {"resize_shorter_px": 200, "longest_px": 240, "round_up_px": 32}
        cropped = {"resize_shorter_px": 200, "crop_px": 180}
        for steps in ({"letterbox_px": 300}, cropped, {"resize_px": (100, 100)}, bounded):
            ours = preprocessor(**steps)(encoded(Image.fromarray(canvas), "JPEG", quality=95))
            weights = np.where(ours.pixels[..., 0] > 120, ours.pixels[..., 0], 0).astype(float)
            y, x = (np.indices(weights.shape) * weights).sum((1, 2)) / weights.sum() + 0.5
            assert ours.geometry.to_full(x, y) == pytest.approx((520, 220), abs=2)


class TestFunction:
    """A plug-in sees the full picture, orientation applied, and its failures are the image's."""

    def build(self, function: Any, **steps: Any) -> Preprocessor:
        settings = PreprocessSettings(function="module:name", **steps)
        return Preprocessor(settings, max_pixels=MAX_PIXELS, function=function)

    def test_what_it_gives_is_resized_as_the_settings_say(self) -> None:
        data = encoded(photo(), "PNG")
        for interpolation in INTERPOLATIONS:
            ours = self.build(np.ascontiguousarray, resize_px=(60, 80), interpolation=interpolation)(data).pixels
            assert np.array_equal(ours, preprocessor(resize_px=(60, 80), interpolation=interpolation)(data).pixels)

    def test_sees_the_whole_picture_and_is_resized_afterwards(self) -> None:
        seen: list[tuple[int, ...]] = []

        def left_half(pixels: np.ndarray) -> np.ndarray:
            seen.append(pixels.shape)
            return pixels[:, : pixels.shape[1] // 2]

        ours = self.build(left_half, resize_px=(20, 30))(oriented(photo(1000, 800), "JPEG", 6))
        assert seen == [(1000, 800, 3)]
        assert (ours.pixels.shape, ours.width, ours.height) == ((20, 30, 3), 800, 1000)

    @pytest.mark.parametrize("result", [None, np.zeros((2, 2)), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)])
    def test_must_give_a_picture(self, result: Any) -> None:
        with pytest.raises(ImageError, match=r"preprocess\.function") as caught:
            self.build(lambda _: result)(encoded(photo(), "PNG"))
        assert caught.value.code == "model_error"
        assert (caught.value.width, caught.value.height) == (200, 150)

    def test_must_not_raise(self) -> None:
        def fails(_: np.ndarray) -> np.ndarray:
            raise KeyError("nothing\nthere")

        with pytest.raises(ImageError, match="KeyError") as caught:
            self.build(fails)(encoded(photo(), "PNG"))
        assert caught.value.code == "model_error"
        assert "\n" not in caught.value.message


class TestFailures:
    def test_too_large_is_told_with_the_size_before_decoding(self) -> None:
        small = Preprocessor(PreprocessSettings(), max_pixels=200 * 150 - 1)
        with pytest.raises(ImageError) as caught:
            small(oriented(photo(200, 150), "JPEG", 6))
        assert (caught.value.code, caught.value.width, caught.value.height) == ("too_large", 150, 200)
        assert Preprocessor(PreprocessSettings(), max_pixels=200 * 150)(encoded(photo(200, 150), "JPEG")).width == 200

    def test_a_sliver_is_not_resized_beyond_the_limit(self) -> None:
        narrow = Preprocessor(PreprocessSettings(resize_shorter_px=256), max_pixels=1_000_000)
        with pytest.raises(ImageError) as caught:
            narrow(encoded(Image.new("RGB", (65_000, 1)), "PNG"))
        assert caught.value.code == "too_large"

    def test_memory_errors_are_not_the_images_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")):

            def fails(*_: Any, error: Exception = error, **__: Any) -> None:
                raise error

            monkeypatch.setattr(preprocess_module, "decode_reduced", fails)
            with pytest.raises(MemoryError):
                preprocessor()(encoded(photo(), "PNG"))

    def test_whatever_a_decoder_raises_is_unreadable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: Any, **__: Any) -> None:
            raise RuntimeError("line\n" * 200)

        monkeypatch.setattr(preprocess_module, "decode_reduced", fails)
        with pytest.raises(ImageError) as caught:
            preprocessor()(encoded(photo(), "PNG"))
        assert (caught.value.code, caught.value.width, caught.value.height) == ("unreadable", 200, 150)
        assert len(caught.value.message) <= 200

    def test_errors_cross_processes(self) -> None:
        with pytest.raises(ImageError) as caught:
            preprocessor()(encoded(photo(), "JPEG")[:-100])
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.code, again.width, again.height) == ("truncated", 200, 150)


@pytest.mark.parametrize("at_once", [1, 2])
def test_no_more_large_images_are_in_work_at_once_than_asked_for(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """A function sees how many others are in it; small images are never held up, and no error keeps a turn."""
    monkeypatch.setattr(preprocess_module, "LARGE_PIXELS", 100 * 100)
    inside, most, lock = 0, 0, Lock()

    def watched(pixels: np.ndarray) -> np.ndarray:
        nonlocal inside, most
        if pixels.shape[0] == 50:
            return pixels
        with lock:
            inside, most = inside + 1, max(most, inside + 1)
        time.sleep(0.02)
        with lock:
            inside -= 1
        raise ImageError("unsupported", "seen")

    settings = PreprocessSettings(resize_px=(8, 8))
    one = Preprocessor(settings, max_pixels=MAX_PIXELS, function=watched, large_at_once=at_once)
    large, small = (encoded(Image.new("RGB", (side + 1, side)), "PNG") for side in (100, 50))

    def refused(data: bytes) -> None:
        with pytest.raises(ImageError):
            one(data)

    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(refused, large) for _ in range(16)]
        assert one(small).pixels.shape == (8, 8, 3)
        for task in tasks:
            task.result()
    assert most == at_once


def test_many_threads_get_what_one_gets() -> None:
    preprocess = preprocessor(resize_shorter_px=64, crop_px=56)
    formats = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
    files = [encoded(photo(150 + n, 100 + 7 * n, n % 6), formats[n % 5]) for n in range(20)]
    alone = [preprocess(data).pixels for data in files]
    with ThreadPoolExecutor(4, initializer=limit_threads) as pool:
        for together in (list(pool.map(preprocess, files)) for _ in range(3)):
            assert all(np.array_equal(a, b.pixels) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("settings", [{"resize_px": (40, 30)}, {"letterbox_px": 64}, {"crop_px": 1000}])
def test_pixels_can_be_written_where_the_caller_wants_them(settings: dict[str, object]) -> None:
    preprocess = PreprocessSettings.model_validate(settings)
    assert preprocess.output_px is not None
    preprocessor = Preprocessor(preprocess, max_pixels=10**8)
    data = encoded(photos()[0], "JPEG", quality=90)
    out = np.full((*preprocess.output_px, 3), 7, np.uint8)
    assert preprocessor(data, out).pixels is out
    np.testing.assert_array_equal(out, preprocessor(data).pixels)
