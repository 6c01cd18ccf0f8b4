"""The model stage: pixels in, the output's rows out; a batch that fails is narrowed down to the images to blame.

Importing this imports torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import DeviceError, ImageError, ModelError
from vision_batch.inference.batch_size import BatchSize
from vision_batch.inference.chunk import DecodedChunk, PredictedChunk
from vision_batch.inference.predicted import Columns, add_answer, joined, one_line, predicted_chunk
from vision_batch.inference.stage import ahead
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.models.compiled import CompiledPredictor
from vision_batch.models.device import give_memory_back, is_out_of_memory, use_threads
from vision_batch.models.outputs import picked
from vision_batch.models.predictor import Predictor
from vision_batch.models.transfer import Answer
from vision_batch.tasks.task import Task, View

Begun: TypeAlias = Callable[[], Columns]
"""A batch in work: waits for its end."""


class ModelStage:
    """Predicts chunks with one model on one device; concurrent calls take turns to begin."""

    def __init__(
        self,
        predictor: Predictor | CompiledPredictor,
        task: Task,
        schema: pa.Schema,
        *,
        batch_size: BatchSize,
        threads: int,
        padded: bool = False,
    ) -> None:
        """`batch_size` says into what a chunk is cut; `threads` is for one operator of a model on a CPU.

        `padded` says that images lie in the top left corners of their pixels, as large as they are.
        """
        self._predictor = predictor
        self._batch_size = batch_size
        self._threads = threads
        self._padded = padded
        self._task = task
        self._schema = schema
        self._no_columns = [pa.array([], field.type) for field in task.fields()]
        self._lock = threading.Lock()

    @property
    def device(self) -> str:
        """Where the model runs: cpu, cuda:0, ..."""
        return str(self._predictor.device)

    def run(self, chunks: Iterator[DecodedChunk], watch: Stopwatch) -> Iterator[PredictedChunk]:
        """One for each chunk, in order. An accelerator has the next chunk before the last one's answer is waited for.

        Raises ModelError when the model itself is at fault, DeviceError when the device is.
        """
        begun = ((chunk, self._begin_chunk(chunk, watch)) for chunk in chunks)
        for chunk, batches in ahead(begun, 1 + self._predictor.ahead):
            columns = [batch() for batch in batches] or [(self._no_columns, {})]
            yield predicted_chunk(chunk, columns, self._schema, watch, batch_rows=self._batch_size.found or 0)

    def _begin_chunk(self, chunk: DecodedChunk, watch: Stopwatch) -> list[Begun]:
        """The chunk's batches, in order, of the size that is best or being tried."""
        batches: list[Begun] = []
        views = [chunk.rows[i].view for i in chunk.good]
        start = 0
        with self._lock:
            use_threads(self._threads)
            while start < len(views):
                rows = self._batch_size.next_rows(len(views) - start)
                span = slice(start, start + rows)
                began = time.perf_counter()
                batch = self._begin(chunk.pixels[span], views[span], watch)
                if self._batch_size.trying:
                    columns, failures = batch()
                    if not failures:
                        self._batch_size.learn(rows, time.perf_counter() - began)
                    batch = partial(_known, columns, failures)
                batches.append(batch)
                start += rows
        return batches

    def _begin(self, pixels: NDArray[np.uint8], views: Sequence[View], watch: Stopwatch) -> Begun:
        """Begins one batch. One that fails at once is narrowed down at once, to the images to blame."""
        start_cpu = time.thread_time()
        try:
            wait = self._predictor.start(pixels, [view.size_px for view in views] if self._padded else None)
        except (ModelError, DeviceError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the model is foreign code, and this is the one-image boundary
            is_short = self._learn_limit(error, pixels)
            failure = ImageError("model_error", one_line(error))
        else:
            return partial(self._columns, wait, views, pixels.shape[1:3], watch, time.thread_time() - start_cpu)
        if is_short:  # behind the handler, because the error's traceback kept what the model had allocated
            give_memory_back()
        if len(pixels) == 1:
            return partial(_known, self._no_columns, {0: failure})
        middle = len(pixels) // 2
        first = self._begin(pixels[:middle], views[:middle], watch)()
        second = self._begin(pixels[middle:], views[middle:], watch)()
        return partial(_known, *joined([first, second]))

    def _learn_limit(self, error: Exception, pixels: NDArray[np.uint8]) -> bool:
        """Whether memory ran out: batches stay below this one then. ModelError where it was a single image."""
        if not is_out_of_memory(error):
            return False
        self._batch_size.out_of_memory(len(pixels))
        if len(pixels) == 1:
            height, width = pixels.shape[1:3]
            raise ModelError(
                f"the device has not enough memory for the model and one image of {width}x{height}; "
                "use a device with more memory, a smaller model, or a smaller size in preprocess"
            ) from error
        return True

    def _columns(
        self,
        wait: Callable[[], Answer],
        views: Sequence[View],
        model_px: tuple[int, int],
        watch: Stopwatch,
        cpu_s: float,
    ) -> Columns:
        """`cpu_s` is what the calling thread took to begin; on a CPU the operators' other threads take as much each."""
        answer = wait()
        add_answer(watch, answer, cpu_s * (self._threads if self.device == "cpu" else 1))
        outputs = answer.outputs
        self._task.check(outputs, len(views))
        with watch.time("postprocess"):
            finite = self._task.finite(outputs)
            if finite.all():
                return self._task.columns(outputs, views, model_px), {}
            failures = {
                int(i): ImageError("model_error", f"the model gave {self._task.unusable}")
                for i in np.flatnonzero(~finite)
            }
            kept = [view for view, ok in zip(views, finite, strict=True) if ok]
            return self._task.columns(picked(outputs, finite), kept, model_px), failures


def _known(columns: list[pa.Array], failures: dict[int, ImageError]) -> Columns:
    return columns, failures
