"""The model stage: pixels in, the output's rows out; a batch that fails is narrowed down to the images to blame.

Importing this imports torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from vision_batch.errors import DeviceError, ImageError, ModelError
from vision_batch.inference.batch_size import BatchSize
from vision_batch.inference.chunk import DecodedChunk, PredictedChunk, Row
from vision_batch.inference.stage import ahead
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.models.compiled import CompiledPredictor
from vision_batch.models.device import give_memory_back, is_out_of_memory
from vision_batch.models.outputs import picked
from vision_batch.models.predictor import Predictor
from vision_batch.models.transfer import Answer
from vision_batch.tasks.task import Task, View

Columns: TypeAlias = tuple[list[pa.Array], dict[int, ImageError]]
"""Task columns of the images that could be predicted, and the error of each that could not, by position."""

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
            yield self._end_chunk(chunk, batches, watch)

    def _begin_chunk(self, chunk: DecodedChunk, watch: Stopwatch) -> list[Begun]:
        """The chunk's batches, in order, of the size that is best or being tried."""
        batches: list[Begun] = []
        views = [chunk.rows[i].view for i in chunk.good]
        start = 0
        with self._lock:
            self._limit_threads()
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

    def _end_chunk(self, chunk: DecodedChunk, batches: Sequence[Begun], watch: Stopwatch) -> PredictedChunk:
        columns, failures = _joined([batch() for batch in batches]) if batches else (self._no_columns, {})
        for position, error in failures.items():
            chunk.rows[chunk.good[position]].fail(error)
        good = [i for position, i in enumerate(chunk.good) if position not in failures]
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

    def _begin(self, pixels: NDArray[np.uint8], views: Sequence[View], watch: Stopwatch) -> Begun:
        """Begins one batch. One that fails at once is narrowed down at once, to the images to blame."""
        start_cpu = time.thread_time()
        try:
            wait = self._predictor.start(pixels, [view.size_px for view in views] if self._padded else None)
        except (ModelError, DeviceError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the model is foreign code, and this is the one-image boundary
            is_short = self._learn_limit(error, pixels)
            failure = ImageError("model_error", _one_line(error))
        else:
            return partial(self._columns, wait, views, pixels.shape[1:3], watch, time.thread_time() - start_cpu)
        if is_short:  # behind the handler, because the error's traceback kept what the model had allocated
            give_memory_back()
        if len(pixels) == 1:
            return partial(_known, self._no_columns, {0: failure})
        middle = len(pixels) // 2
        first = self._begin(pixels[:middle], views[:middle], watch)()
        second = self._begin(pixels[middle:], views[middle:], watch)()
        return partial(_known, *_joined([first, second]))

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
        cpu_s *= self._threads if self.device == "cpu" else 1
        share = answer.copy_s / max(answer.copy_s + answer.model_s, 1e-9)
        watch.add("copy", answer.copy_s, share * cpu_s)
        watch.add("model", answer.model_s, (1 - share) * cpu_s)
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


def _joined(parts: Sequence[Columns]) -> Columns:
    """Of neighbours those of all of them. A part's images are its columns' values and its failures."""
    if len(parts) == 1:
        return parts[0]
    failures: dict[int, ImageError] = {}
    start = 0
    for columns, failed in parts:
        failures |= {start + position: error for position, error in failed.items()}
        start += len(columns[0]) + len(failed)
    return [pa.concat_arrays(column) for column in zip(*(columns for columns, _ in parts), strict=True)], failures


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
