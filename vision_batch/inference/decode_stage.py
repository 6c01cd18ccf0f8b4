"""The CPU stage: encoded chunks in, uint8 pixels out, in a pool of threads (decoders and resizers release the GIL)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_batch.datasets.sample import Sample
from vision_batch.errors import ImageError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.resize import limit_threads
from vision_batch.inference.chunk import DecodedChunk, EncodedChunk, Row, stacked
from vision_batch.inference.stage import ahead
from vision_batch.inference.stopwatch import Stopwatch

SLICE_ROWS = 8
"""Images per task of the pool: enough to hide the cost of a future, few enough to spread a chunk over the threads."""

CHUNKS_AHEAD = 3
"""Chunks being decoded while one is predicted; with the chunk's own bound this bounds the memory of the stage."""

RESHAPED = "preprocess.function gave a picture of another size: what is found there has no place in the image"


class Decoder:
    """Decodes and preprocesses chunks, several at a time, and yields them in order.

    With `lies_on_image` a picture that a plug-in function gave another size is an error.
    `output_px` is the (height, width) that every image gets, None where only the plug-in function knows. With 0
    `threads` the caller's own thread decodes, one chunk at a time.
    One instance serves all concurrent calls of an actor, so that its pool bounds the threads of the process.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        threads: int,
        output_px: tuple[int, int] | None,
        *,
        lies_on_image: bool = False,
        chunks_ahead: int = CHUNKS_AHEAD,
    ) -> None:
        self._preprocessor = preprocessor
        self._lies_on_image = lies_on_image
        self._output_px = output_px
        self._pool = ThreadPoolExecutor(threads, "decode", initializer=limit_threads) if threads else CallersThread()
        self._ahead = chunks_ahead if threads else 1

    def __call__(self, chunks: Iterator[EncodedChunk], watch: Stopwatch) -> Iterator[DecodedChunk]:
        """The chunks, in order; `chunks` is read at most `chunks_ahead` ahead of what is yielded."""
        for started in ahead(self._begun(chunks, watch), self._ahead):
            with watch.time("wait"):
                rows = [row for part in started.parts for row in part.result()]
            yield _finish(started, rows)

    def _begun(self, chunks: Iterator[EncodedChunk], watch: Stopwatch) -> Iterator[_Pending]:
        while True:
            with watch.time("read"):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield self._start(chunk, watch)

    def _start(self, chunk: EncodedChunk, watch: Stopwatch) -> _Pending:
        samples = chunk.samples
        pixels = None if self._output_px is None else np.empty((len(samples), *self._output_px, 3), np.uint8)
        slots: list[NDArray[np.uint8] | None] = [None] * len(samples)
        parts = [
            self._pool.submit(
                self._decode_slice, samples, range(start, min(start + SLICE_ROWS, len(samples))), pixels, slots, watch
            )
            for start in range(0, len(samples), SLICE_ROWS)
        ]
        return _Pending(chunk, pixels, slots, parts)

    def _decode_slice(
        self,
        samples: Sequence[Sample],
        positions: range,
        pixels: NDArray[np.uint8] | None,
        slots: list[NDArray[np.uint8] | None],
        watch: Stopwatch,
    ) -> list[Row]:
        start, start_cpu = time.perf_counter(), time.thread_time()
        decode_s = 0.0
        rows = []
        for position in positions:
            sample = samples[position]
            row = Row(row=sample.row, image_id=sample.image_id, truth=sample.truth, kept=sample.kept)
            rows.append(row)
            before = time.perf_counter()
            try:
                if sample.error is not None:
                    raise sample.error
                image = self._preprocessor(sample.data or b"", None if pixels is None else pixels[position])
                if image.reshaped and self._lies_on_image:
                    raise ImageError("model_error", RESHAPED, width=image.width, height=image.height)
            except ImageError as error:
                row.fail(error)
                decode_s += time.perf_counter() - before
                continue
            decode_s += image.decoded_at - before
            row.width, row.height, row.geometry = image.width, image.height, image.geometry
            if pixels is None:
                slots[position] = image.pixels
        # the CPU's time in the proportion of the clock's: asking for it costs more, and this is done for every image
        wall_s, cpu_s = time.perf_counter() - start, time.thread_time() - start_cpu
        share = decode_s / wall_s if wall_s else 0.0
        watch.add("decode", decode_s, share * cpu_s)
        watch.add("preprocess", wall_s - decode_s, (1 - share) * cpu_s)
        return rows


class CallersThread(Executor):
    """No pool: `submit` does the work before it returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        limit_threads()
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class _Pending(NamedTuple):
    chunk: EncodedChunk
    pixels: NDArray[np.uint8] | None
    slots: list[NDArray[np.uint8] | None]
    parts: list[Future[list[Row]]]


def _finish(started: _Pending, rows: list[Row]) -> DecodedChunk:
    good = [position for position, row in enumerate(rows) if row.error_code is None]
    if started.pixels is None:
        pixels = stacked(image for image in started.slots if image is not None)
    else:
        pixels = started.pixels if len(good) == len(rows) else started.pixels[good]
    return DecodedChunk(place=started.chunk.place, rows=rows, good=good, pixels=pixels)
