"""One image, from encoded bytes to the pixels that go to the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from threading import Semaphore
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vision_batch.errors import ImageError
from vision_batch.images.decode import decode, refusal, short
from vision_batch.images.formats import check_whole, read_header
from vision_batch.images.geometry import Geometry, Placement, place
from vision_batch.images.header import Encoded, Header
from vision_batch.images.orientation import orient
from vision_batch.images.resize import resize, window
from vision_batch.images.settings import Interpolation, PreprocessSettings

Pixels: TypeAlias = npt.NDArray[np.uint8]
PLACEMENTS_KEPT: Final = 4096
LARGE_PIXELS: Final = 16_000_000  # 48 MB once decoded, and up to as much again while they are resized
# By what the decoder may scale a JPEG down, how many times the wanted size must then be left for the antialiased
# resize, and from how many pixels of the wanted picture's shorter side on. Measured on nine real pictures in their own
# resolution, the largest mean difference to Pillow by factor 2, 4, 8, of 255: 0.99, 1.1, 1.5 where 1.8 times is left;
# 0.8, 1.2, 1.7 at 2; 0.7, 0.7, 0.9 at 2.25; 0.6, 0.6, 0.8 at 2.5. Little pictures made from large ones differ more.
# Bicubic, which keeps more detail: 1.02, 1.0, 1.3 at 1.85; 0.9, 0.9, 1.2 at 2; 0.6, 0.7, 0.8 at 2.5.
SCALES: Final[dict[Interpolation, tuple[tuple[int, float, int], ...]]] = {
    "bilinear": ((8, 2.5, 1), (4, 2.5, 1), (2, 2.5, 1), (2, 1.85, 192)),
    "bicubic": ((8, 2.5, 1), (4, 2.5, 1), (2, 2.5, 1), (2, 2.0, 192)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessed:
    """`pixels` is uint8 (H, W, 3) RGB, C-contiguous; `width` and `height` are of the full image, orientation applied.

    `geometry` leads from coordinates of `pixels` back to the full image; with a plug-in function, which may have moved
    everything, to what the function gave. `decoded_at` is when decoding was over, on the clock time.perf_counter().
    """

    pixels: Pixels
    width: int
    height: int
    geometry: Geometry
    decoded_at: float


class Preprocessor:
    """Decodes, orients, resizes and crops. Any number of threads may call one; large images may have to take turns.

    Each thread that calls it should have called `resize.limit_threads` first.
    """

    def __init__(
        self,
        settings: PreprocessSettings,
        *,
        max_pixels: int,
        function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None,
        large_at_once: int | None = None,
    ) -> None:
        """`function` is the loaded plug-in that `settings.function` names: uint8 RGB (H, W, 3) in and out.

        `large_at_once` is how many images of more than LARGE_PIXELS are in work at once, None for any number.
        """
        self._max_pixels = max_pixels
        self._function = function
        self._interpolation = settings.interpolation
        self._place = _placements(settings)
        self._large = nullcontext() if large_at_once is None else Semaphore(large_at_once)

    def __call__(self, data: Encoded, out: Pixels | None = None) -> Preprocessed:
        """The image's pixels, in `out` (uint8, of the size that the settings give every image) if given.

        ImageError, and nothing else, for an image that cannot be used; MemoryError passes.
        """
        header: Header | None = None
        try:
            header = read_header(data)
            with self._large if header.width * header.height > LARGE_PIXELS else nullcontext():
                return self._prepare(data, header, out)
        except MemoryError:
            raise
        except ImageError as error:
            raise _sized(error, header) from error.__cause__
        except Exception as error:
            if _out_of_memory(error):
                raise MemoryError(short(str(error))) from error
            raise _sized(refusal(error), header) from error

    def _prepare(self, data: Encoded, header: Header, out: Pixels | None) -> Preprocessed:
        width, height = header.shown_size
        if width * height > self._max_pixels:
            raise ImageError("too_large", f"{width} x {height} pixels, limits.max_pixels is {self._max_pixels}")
        check_whole(data, header)
        if self._function is not None:
            return self._through_function(data, header, self._function, out)
        placement, geometry = self._placement(width, height)
        factor = _factor(header, placement, self._interpolation)
        pixels = _decoded(data, header, factor)
        decoded_at = time.perf_counter()
        pixels = _resized(pixels, header, placement, factor, self._interpolation)
        return Preprocessed(
            pixels=window(pixels, placement, out), width=width, height=height, geometry=geometry, decoded_at=decoded_at
        )

    def _through_function(
        self, data: Encoded, header: Header, function: Callable[..., Any], out: Pixels | None
    ) -> Preprocessed:
        pixels = decode(data, header)
        decoded_at = time.perf_counter()
        pixels = _call(function, np.ascontiguousarray(orient(pixels, header.orientation)))
        placement, geometry = self._placement(pixels.shape[1], pixels.shape[0])
        size = placement.resized_width, placement.resized_height
        pixels = resize(pixels, *size, interpolation=self._interpolation)
        width, height = header.shown_size
        return Preprocessed(
            pixels=window(pixels, placement, out), width=width, height=height, geometry=geometry, decoded_at=decoded_at
        )

    def _placement(self, width: int, height: int) -> tuple[Placement, Geometry]:
        placement, geometry = self._place(width, height)
        if placement.resized_width * placement.resized_height > self._max_pixels:
            size = f"{placement.resized_width} x {placement.resized_height}"
            raise ImageError(
                "too_large", f"{width} x {height} pixels become {size}, limits.max_pixels is {self._max_pixels}"
            )
        return placement, geometry


def _placements(settings: PreprocessSettings) -> Callable[[int, int], tuple[Placement, Geometry]]:
    """The placement for a size; sizes repeat, so the latest are kept."""
    steps: dict[str, Any] = {
        name: getattr(settings, name) for name in ("resize_shorter_px", "resize_px", "letterbox_px", "crop_px")
    }

    @lru_cache(maxsize=PLACEMENTS_KEPT)
    def placement_of(width: int, height: int) -> tuple[Placement, Geometry]:
        placement = place(width, height, **steps)
        return placement, placement.geometry

    return placement_of


def _stored_size(header: Header, placement: Placement) -> tuple[int, int]:
    """The resized picture's width and height as it is stored, not yet oriented."""
    width, height = placement.resized_width, placement.resized_height
    return (height, width) if header.transposed else (width, height)


def _factor(header: Header, placement: Placement, interpolation: Interpolation) -> int:
    """By what the decoder may scale a stored picture down before it is resized."""
    if header.format != "jpeg":
        return 1
    width, height = _stored_size(header, placement)
    left = min(header.width / width, header.height / height)
    shorter = min(width, height)
    scales = SCALES[interpolation]
    return next((factor for factor, margin, least in scales if left >= factor * margin and shorter >= least), 1)


def _decoded(data: Encoded, header: Header, factor: int) -> Pixels:
    """The stored picture, scaled down by `factor` while it is decoded."""
    if factor == 1:
        return decode(data, header)
    width, height = -(-header.width // factor), -(-header.height // factor)
    pixels = decode(data, header, min_width=width, min_height=height)
    if pixels.shape[:2] != (height, width):
        raise ValueError(f"scaled decoding gave {pixels.shape}")
    return pixels


def _resized(pixels: Pixels, header: Header, placement: Placement, factor: int, interpolation: Interpolation) -> Pixels:
    """The resized picture as shown, at least as far as the placement's window reaches.

    It is oriented after resizing: turning the smaller picture costs less and gives the same.
    """
    width, height = _stored_size(header, placement)
    keep = None
    if header.orientation == 1:
        keep = min(width, placement.left + placement.out_width), min(height, placement.top + placement.out_height)
    span = (header.width / factor, header.height / factor) if factor > 1 else None
    pixels = resize(pixels, width, height, interpolation=interpolation, span=span, keep=keep)
    return orient(pixels, header.orientation)


def _call(function: Callable[..., Any], pixels: Pixels) -> Pixels:
    try:
        result = function(pixels)
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError("model_error", short(f"preprocess.function: {type(error).__name__}: {error}")) from error
    if not isinstance(result, np.ndarray):
        raise ImageError("model_error", f"preprocess.function gave {type(result).__name__}, expected a numpy array")
    if result.dtype != np.uint8 or result.ndim != 3 or result.shape[2] != 3 or result.size == 0:
        found = f"{result.dtype} {result.shape}"
        raise ImageError("model_error", f"preprocess.function gave {found}, expected uint8 (H, W, 3)")
    return result


def _out_of_memory(error: Exception) -> bool:
    """True for what torch and OpenCV raise where Python raises MemoryError."""
    return "allocate memory" in str(error) or "Insufficient memory" in str(error)


def _sized(error: ImageError, header: Header | None) -> ImageError:
    if header is not None and error.width is None:
        error.width, error.height = header.shown_size
    return error
