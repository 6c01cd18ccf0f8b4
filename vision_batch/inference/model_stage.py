"""The model stage: pixels in, the output's rows out; a batch that fails is narrowed down to the images to blame."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import DeviceError, ImageError, ModelError
from vision_batch.inference.chunk import DecodedChunk, PredictedChunk, Row
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.tasks.task import Task

if TYPE_CHECKING:
    from vision_batch.models.predictor import Predictor


class ModelStage:
    """Predicts chunks with one model on one device; concurrent calls take turns on the device."""

    def __init__(self, predictor: Predictor, task: Task, schema: pa.Schema, *, threads: int) -> None:
        self._predictor = predictor
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
                columns, failures = self._span(chunk.pixels, sizes, watch)
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
        )

    def _limit_threads(self) -> None:
        """torch counts its CPU threads for each calling thread, and a new one inherits the decoders' single thread."""
        import torch

        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)

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
            if len(pixels) > 1:
                return self._halves(pixels, sizes, watch)
            _refuse_out_of_memory(error, pixels)
            return self._no_columns, {0: ImageError("model_error", _one_line(error))}
        self._task.check(outputs, len(pixels))
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
        columns = [pa.concat_arrays(pair) for pair in zip(first, second, strict=True)]
        return columns, failures | {middle + position: error for position, error in later.items()}


def _refuse_out_of_memory(error: Exception, pixels: NDArray[np.uint8]) -> None:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        height, width = pixels.shape[1:3]
        raise ModelError(
            f"the device has not enough memory for the model and one image of {width}x{height}; "
            "use a device with more memory, a smaller model, or a smaller size in preprocess"
        ) from error


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
