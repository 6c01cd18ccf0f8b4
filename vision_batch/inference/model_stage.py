"""The model stage: pixels in, the output's rows out; a batch that fails is narrowed down to the images to blame.

Importing this imports torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from vision_batch.errors import DeviceError, ImageError, ModelError
from vision_batch.inference.batch_size import BatchSize
from vision_batch.inference.chunk import DecodedChunk, PredictedChunk, Row
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.models.device import give_memory_back, is_out_of_memory
from vision_batch.models.predictor import Predictor
from vision_batch.tasks.task import Task


class ModelStage:
    """Predicts chunks with one model on one device; concurrent calls take turns on the device."""

    def __init__(
        self, predictor: Predictor, task: Task, schema: pa.Schema, *, batch_size: BatchSize, threads: int
    ) -> None:
        """`batch_size` says into what a chunk is cut; `threads` is for one operator of a model on a CPU."""
        self._predictor = predictor
        self._batch_size = batch_size
        self._threads = threads
        self._task = task
        self._schema = schema
        self._no_columns = [pa.array([], field.type) for field in task.fields()]
        self._lock = threading.Lock()

    @property
    def device(self) -> str:
        """Where the model runs: cpu, cuda:0, ..."""
        return str(self._predictor.device)

    def __call__(self, chunk: DecodedChunk, watch: Stopwatch) -> PredictedChunk:
        """One chunk's rows. Raises ModelError when the model itself is at fault, DeviceError when the device is."""
        good = list(chunk.good)
        columns = self._no_columns
        failures: dict[int, ImageError] = {}
        if good:
            sizes = [(chunk.rows[i].width or 0, chunk.rows[i].height or 0) for i in good]
            with self._lock:
                self._limit_threads()
                columns, failures = self._batches(chunk.pixels, sizes, watch)
            for position, error in failures.items():
                chunk.rows[good[position]].fail(error)
            good = [i for position, i in enumerate(good) if position not in failures]
        with watch.time("postprocess"):
            table = _table(chunk.place.shard, chunk.rows, good, columns, self._schema)
        first = next(iter(failures.values()), None)
        return PredictedChunk(
            place=chunk.place,
            table=table,
            asked=len(chunk.good),
            failed=len(failures),
            failure="" if first is None else first.message,
            batch_rows=self._batch_size.found or 0,
        )

    def _limit_threads(self) -> None:
        """torch counts its CPU threads for each calling thread, and a new one inherits the decoders' single thread."""
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)

    def _batches(
        self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]], watch: Stopwatch
    ) -> tuple[list[pa.Array], dict[int, ImageError]]:
        """As `_span`, in batches of the size that is best or being tried."""
        parts: list[list[pa.Array]] = []
        failures: dict[int, ImageError] = {}
        start = 0
        while start < len(pixels):
            rows = self._batch_size.next_rows(len(pixels) - start, whole=not start)
            span = slice(start, start + rows)
            began = time.perf_counter()
            columns, failed = self._span(pixels[span], sizes[span], watch)
            if not failed:
                self._batch_size.learn(rows, time.perf_counter() - began)
            parts.append(columns)
            failures |= {start + position: error for position, error in failed.items()}
            start += rows
        return _joined(parts), failures

    def _span(
        self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]], watch: Stopwatch
    ) -> tuple[list[pa.Array], dict[int, ImageError]]:
        """Task columns of the images that can be predicted, and the error of each that cannot, by position."""
        try:
            with watch.time("model"):
                outputs = self._predictor(pixels)
        except (ModelError, DeviceError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the model is foreign code, and this is the one-image boundary
            is_short = self._learn_limit(error, pixels)
            failure = ImageError("model_error", _one_line(error))
        else:
            return self._columns(outputs, sizes, watch)
        if is_short:  # behind the handler, because the error's traceback kept what the model had allocated
            give_memory_back()
        if len(pixels) == 1:
            return self._no_columns, {0: failure}
        return self._halves(pixels, sizes, watch)

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
        self, outputs: Any, sizes: Sequence[tuple[int, int]], watch: Stopwatch
    ) -> tuple[list[pa.Array], dict[int, ImageError]]:
        self._task.check(outputs, len(sizes))
        with watch.time("postprocess"):
            finite = self._task.finite(outputs)
            if finite.all():
                return self._task.columns(outputs, sizes), {}
            failures = {
                int(i): ImageError("model_error", "the model gave NaN or infinity") for i in np.flatnonzero(~finite)
            }
            kept = [size for size, ok in zip(sizes, finite, strict=True) if ok]
            return self._task.columns(outputs[finite], kept), failures

    def _halves(
        self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]], watch: Stopwatch
    ) -> tuple[list[pa.Array], dict[int, ImageError]]:
        middle = len(pixels) // 2
        first, failures = self._span(pixels[:middle], sizes[:middle], watch)
        second, later = self._span(pixels[middle:], sizes[middle:], watch)
        return _joined([first, second]), failures | {middle + position: error for position, error in later.items()}


def _joined(parts: Sequence[list[pa.Array]]) -> list[pa.Array]:
    """The columns of neighbours as those of all of them."""
    return parts[0] if len(parts) == 1 else [pa.concat_arrays(part) for part in zip(*parts, strict=True)]


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _table(shard: str, rows: list[Row], good: list[int], columns: list[pa.Array], schema: pa.Schema) -> pa.Table:
    """All rows in order with the complete schema; `columns` are the task's, for the rows at `good`."""
    values: dict[str, Any] = {
        "image_id": [row.image_id for row in rows],
        "shard": [shard] * len(rows),
        "row": [row.row for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
        "error_code": [row.error_code for row in rows],
        "error": [row.error for row in rows],
        "truth": [row.truth for row in rows],
    }
    extras = [name for name in schema.names if name.startswith("input_")]
    values |= {name: [row.kept[i] for row in rows] for i, name in enumerate(extras)}
    task_names = schema.names[len(schema.names) - len(columns) :]
    if len(good) < len(rows):
        where = np.full(len(rows), -1)
        where[good] = np.arange(len(good))
        take = pa.array(where, mask=where < 0)
        columns = [column.take(take) for column in columns]
    values |= dict(zip(task_names, columns, strict=True))
    arrays = [
        values[field.name] if isinstance(values[field.name], pa.Array) else pa.array(values[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
