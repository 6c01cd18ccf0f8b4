"""The model stage for pictures that are too large for the model: it sees them tile by tile, at full size.

Importing this imports torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from vision_batch.errors import DeviceError, ImageError, ModelError
from vision_batch.images.tiles import cut_tile, tiles_along
from vision_batch.inference.batch_size import BatchSize
from vision_batch.inference.chunk import DecodedChunk, PredictedChunk
from vision_batch.inference.predicted import Columns, add_answer, one_line, predicted_chunk
from vision_batch.inference.stage import ahead
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.models.device import give_memory_back, is_out_of_memory, use_threads
from vision_batch.models.predictor import Predictor, device_errors
from vision_batch.models.tile_blend import Stripe, TileBlend, stripes
from vision_batch.models.transfer import Answer
from vision_batch.tasks.segmentation import Segmentation


class TiledStage:
    """Predicts chunks with one model on one device; concurrent calls take turns, an image each."""

    def __init__(
        self,
        predictor: Predictor,
        blend: TileBlend,
        task: Segmentation,
        schema: pa.Schema,
        *,
        batch_size: BatchSize,
        threads: int,
    ) -> None:
        """`blend` is the predictor's module; `batch_size` says how many tiles it is given at once."""
        self._predictor = predictor
        self._blend = blend
        self._task = task
        self._schema = schema
        self._batch_size = batch_size
        self._threads = threads
        self._lock = threading.Lock()
        self._asked = 0

    @property
    def device(self) -> str:
        """Where the model runs: cpu, cuda:0, ..."""
        return str(self._predictor.device)

    def run(self, chunks: Iterator[DecodedChunk], watch: Stopwatch) -> Iterator[PredictedChunk]:
        """One for each chunk, in order. ModelError and DeviceError as of the ModelStage."""
        for chunk in chunks:
            columns = [self._columns(pixels, watch) for pixels in chunk.pixels] or [(self._task.mask_columns([]), {})]
            yield predicted_chunk(chunk, columns, self._schema, watch, batch_rows=self._batch_size.found or 0)

    def _columns(self, pixels: NDArray[np.uint8], watch: Stopwatch) -> Columns:
        """Of one image, uint8 (H, W, 3)."""
        try:
            mask = self._mask(pixels, watch)
        except ImageError as error:
            return self._task.mask_columns([]), {0: error}
        with watch.time("postprocess"):
            return self._task.mask_columns([mask]), {}

    def _mask(self, pixels: NDArray[np.uint8], watch: Stopwatch) -> NDArray[Any]:
        """(H, W) of class indices. An image for which memory runs out begins anew, with fewer tiles at once."""
        while True:
            try:
                with self._lock:
                    use_threads(self._threads)
                    return np.concatenate([self._stripe(pixels, each, watch) for each in self._stripes(pixels)], axis=1)
            except (ModelError, DeviceError, ImageError, MemoryError):
                raise
            except Exception as error:
                if not is_out_of_memory(error):
                    raise ImageError("model_error", one_line(error)) from error
                self._learn_limit(error)
            give_memory_back()  # behind the handler, because the error's traceback kept what the model had allocated

    def _stripes(self, pixels: NDArray[np.uint8]) -> Iterator[Stripe]:
        height, width = pixels.shape[:2]
        tile_px = self._blend.tile_px
        if self._blend.classes is None:  # the first tile tells
            one = tiles_along(tile_px, tile_px, 0)
            self._blend.begin(next(stripes(one, one, height=tile_px, width=tile_px, classes=1)))
            self._begin([cut_tile(pixels, 0, 0, tile_px)])()
        assert self._blend.classes is not None
        down, across = (tiles_along(size, tile_px, self._task.tile_overlap) for size in (height, width))
        return stripes(down, across, height=height, width=width, classes=self._blend.classes)

    def _stripe(self, pixels: NDArray[np.uint8], stripe: Stripe, watch: Stopwatch) -> NDArray[Any]:
        self._blend.begin(stripe)
        is_finite = True
        for wait, cpu_s in ahead(self._begun(pixels, stripe), 1 + self._predictor.ahead):
            answer = wait()
            add_answer(watch, answer, cpu_s * (self._threads if self.device == "cpu" else 1))
            is_finite = bool(answer.outputs[0])
        if not is_finite:
            raise ImageError("model_error", "the model gave NaN or infinity")
        with device_errors(), torch.inference_mode():
            return self._blend.mask()

    def _begun(self, pixels: NDArray[np.uint8], stripe: Stripe) -> Iterator[tuple[Callable[[], Answer], float]]:
        """The stripe's batches of tiles, in order, each in work when it is yielded, with the thread's CPU seconds."""
        left = list(stripe.spots)
        while left:
            rows = self._batch_size.next_rows(len(left))
            now, left = left[:rows], left[rows:]
            tiles = [cut_tile(pixels, *stripe.corner(spot), self._blend.tile_px) for spot in now]
            start_cpu = time.thread_time()
            yield self._begin(tiles), time.thread_time() - start_cpu

    def _begin(self, tiles: list[NDArray[np.uint8]]) -> Callable[[], Answer]:
        self._asked = len(tiles)
        return self._predictor.start(np.stack(tiles))

    def _learn_limit(self, error: Exception) -> None:
        """ModelError where memory ran out for a single tile."""
        self._batch_size.out_of_memory(self._asked)
        if self._asked == 1:
            raise ModelError(
                f"the device has not enough memory for the model and one tile of {self._blend.tile_px} pixels; "
                "use a device with more memory, a smaller model, or a smaller task.tile_px"
            ) from error
