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
from vision_batch.images.decode import refusal, short
from vision_batch.images.formats import check_whole, read_header
from vision_batch.images.geometry import Geometry, Placement, place
from vision_batch.images.header import Encoded, Header
from vision_batch.images.orientation import orient
from vision_batch.images.reduce import decode_reduced, reduction
from vision_batch.images.region import Region, resized_region
from vision_batch.images.resize import resize, window
from vision_batch.images.settings import BOUNDS, Interpolation, PreprocessSettings

Pixels: TypeAlias = npt.NDArray[np.uint8]
Choose: TypeAlias = Callable[[int, int], Region | None]
PLACEMENTS_KEPT: Final = 4096
LARGE_PIXELS: Final = 16_000_000  # 48 MB once decoded, and up to as much again while they are resized


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessed:
    """`pixels` is uint8 (H, W, 3) RGB, C-contiguous; `width` and `height` are of the full image, orientation applied.

    `geometry` leads from coordinates of `pixels` back to the full image; with a plug-in function, which may have moved
    everything, to what the function gave: `reshaped` where that has another size. `decoded_at` is when decoding was
    over, on the clock time.perf_counter().
    """

    pixels: Pixels
    width: int
    height: int
    geometry: Geometry
    decoded_at: float
    reshaped: bool = False


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

    def __call__(self, data: Encoded, out: Pixels | None = None, *, choose: Choose | None = None) -> Preprocessed:
        """The image's pixels, in `out` (uint8, of the size that the settings give every image) if given.

        `choose` may name a region, by the full image's width and height in pixels, that takes the place of the resize
        and crop of the settings and gets the size that these would give; None leaves it to them.
        ImageError, and nothing else, for an image that cannot be used; MemoryError passes.
        """
        header: Header | None = None
        try:
            header = read_header(data)
            with self._large if header.width * header.height > LARGE_PIXELS else nullcontext():
                return self._prepare(data, header, out, choose)
        except MemoryError:
            raise
        except ImageError as error:
            raise _sized(error, header) from error.__cause__
        except Exception as error:
            if _out_of_memory(error):
                raise MemoryError(short(str(error))) from error
            raise _sized(refusal(error), header) from error

    def _prepare(self, data: Encoded, header: Header, out: Pixels | None, choose: Choose | None) -> Preprocessed:
        width, height = header.shown_size
        if width * height > self._max_pixels:
            raise ImageError("too_large", f"{width} x {height} pixels, limits.max_pixels is {self._max_pixels}")
        check_whole(data, header)
        if self._function is not None:
            return self._through_function(data, header, self._function, out, choose)
        placement, geometry = self._placement(width, height)
        if choose is not None and (region := choose(width, height)) is not None:
            return self._cut(data, header, region, placement, out)
        stored = _stored_size(header, placement.resized_width, placement.resized_height)
        factor = reduction(header, (header.width, header.height), stored, self._interpolation)
        pixels = decode_reduced(data, header, factor)
        decoded_at = time.perf_counter()
        pixels = _resized(pixels, header, placement, factor, self._interpolation)
        return Preprocessed(
            pixels=window(pixels, placement, out), width=width, height=height, geometry=geometry, decoded_at=decoded_at
        )

    def _cut(
        self, data: Encoded, header: Header, region: Region, placement: Placement, out: Pixels | None
    ) -> Preprocessed:
        """The region is moved by a few pixels where the decoder scales: only whole pixels of its can be cut out."""
        stored = region.stored(header)
        size = _stored_size(header, placement.out_width, placement.out_height)
        factor = reduction(header, (stored.width, stored.height), size, self._interpolation)
        stored = stored.aligned(factor)
        pixels = decode_reduced(data, header, factor)
        decoded_at = time.perf_counter()
        pixels = resized_region(pixels, stored, *size, interpolation=self._interpolation, factor=factor)
        width, height = header.shown_size
        return Preprocessed(
            pixels=_placed(orient(pixels, header.orientation), out),
            width=width,
            height=height,
            geometry=stored.shown(header).geometry(placement.out_width, placement.out_height),
            decoded_at=decoded_at,
        )

    def _through_function(
        self,
        data: Encoded,
        header: Header,
        function: Callable[..., Any],
        out: Pixels | None,
        choose: Choose | None,
    ) -> Preprocessed:
        pixels = decode_reduced(data, header, 1)
        decoded_at = time.perf_counter()
        pixels = _call(function, np.ascontiguousarray(orient(pixels, header.orientation)))
        columns, rows = pixels.shape[1], pixels.shape[0]
        placement, geometry = self._placement(columns, rows)
        if choose is not None and (region := choose(columns, rows)) is not None:
            size = placement.out_width, placement.out_height
            pixels = _placed(resized_region(pixels, region, *size, interpolation=self._interpolation), out)
            geometry = region.geometry(*size)
        else:
            size = placement.resized_width, placement.resized_height
            pixels = window(resize(pixels, *size, interpolation=self._interpolation), placement, out)
        width, height = header.shown_size
        return Preprocessed(
            pixels=pixels,
            width=width,
            height=height,
            geometry=geometry,
            decoded_at=decoded_at,
            reshaped=(columns, rows) != (width, height),
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
        name: getattr(settings, name) for name in ("resize_shorter_px", "resize_px", "letterbox_px", "crop_px", *BOUNDS)
    }

    @lru_cache(maxsize=PLACEMENTS_KEPT)
    def placement_of(width: int, height: int) -> tuple[Placement, Geometry]:
        placement = place(width, height, **steps)
        return placement, placement.geometry

    return placement_of


def _stored_size(header: Header, width: int, height: int) -> tuple[int, int]:
    """A shown picture's width and height as it is stored, not yet oriented."""
    return (height, width) if header.transposed else (width, height)


def _placed(pixels: Pixels, out: Pixels | None) -> Pixels:
    """The pixels C-contiguous and writable, in `out` if given."""
    if out is None:
        return np.require(pixels, requirements=("C", "W"))
    out[:] = pixels
    return out


def _resized(pixels: Pixels, header: Header, placement: Placement, factor: int, interpolation: Interpolation) -> Pixels:
    """The resized picture as shown, at least as far as the placement's window reaches.

    It is oriented after resizing: turning the smaller picture costs less and gives the same.
    """
    width, height = _stored_size(header, placement.resized_width, placement.resized_height)
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
