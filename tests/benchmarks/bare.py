"""Plain processes, one per core, without a framework: what the job is compared with.

`DecodeLoop` is the limit: it reads, decodes and preprocesses with the package's own functions, and nothing else.
`WholeLoop` also normalises, predicts and writes, as the job does.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from tests.benchmarks.work import MAX_PIXELS
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.resize import limit_threads
from vision_batch.images.settings import PreprocessSettings
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import parent

if TYPE_CHECKING:
    from vision_batch.datasets.shard import Shard

WARM_IMAGES = 128
START_S = 120.0
"""How long the processes may take until all of them are ready."""


class Loop(Protocol):
    """What each process does. It is pickled on its way there."""

    def prepared(self, files: Sequence[str]) -> Callable[[], int]:
        """Imports, loads and warms up all that `files` need; what it returns does the work and counts the images."""


def images_per_second(loop: Loop, files: Sequence[str], processes: int | None = None) -> float:
    """The sum over `processes`, by default one per core, each with its share of `files`, from a common start on."""
    context = multiprocessing.get_context("spawn")
    processes = processes or len(os.sched_getaffinity(0))
    ready, results = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=_run, args=(loop, files[number::processes], ready, results))
        for number in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise RuntimeError(f"{loop} failed")
    figures: list[tuple[int, float]] = [results.get(timeout=1) for _ in started]
    return sum(count / seconds for count, seconds in figures)


def _run(loop: Loop, files: Sequence[str], ready: Any, results: Any) -> None:
    work = loop.prepared(files)
    ready.wait(START_S)
    start = perf_counter()
    results.put((work(), perf_counter() - start))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLoop:
    """Reads, decodes and preprocesses."""

    format: str
    preprocess: Mapping[str, Any]

    def prepared(self, files: Sequence[str]) -> Callable[[], int]:
        preprocessor = make_preprocessor(self.preprocess)
        shards, settings = _shards(self.format, files)

        def work(images: int | None = None) -> int:
            count = 0
            for sample in islice(_samples(shards, settings), images):
                preprocessor(sample.data or b"")
                count += 1
            return count

        work(WARM_IMAGES)
        return work


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeLoop:
    """The whole work, one Parquet file per shard in `out`; one thread, the package's own predictor."""

    format: str
    preprocess: Mapping[str, Any]
    out: Path

    def prepared(self, files: Sequence[str]) -> Callable[[], int]:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq
        import torch

        from tests.benchmarks import tiny
        from tests.benchmarks.work import BATCH_ROWS, MEAN, STD, table
        from vision_batch.models.predictor import Predictor

        preprocessor = make_preprocessor(self.preprocess)
        size = PreprocessSettings.model_validate(self.preprocess).output_px
        assert size is not None
        predictor = Predictor(tiny.build(), mean=MEAN, std=STD, precision="fp32", device=torch.device("cpu"))
        shards, settings = _shards(self.format, files)

        def predict(samples: Sequence[Sample]) -> pa.Table:
            pixels = np.empty((len(samples), *size, 3), np.uint8)
            images = [preprocessor(s.data or b"", out) for s, out in zip(samples, pixels, strict=True)]
            ids = [sample.image_id for sample in samples]
            sizes = [image.width for image in images], [image.height for image in images]
            return table(ids, *sizes, torch.from_numpy(predictor(pixels)))

        def work(images: int | None = None) -> int:
            count = 0
            for shard in shards:
                samples = islice(_samples([shard], settings), images)
                rows = pa.concat_tables(map(predict, batches(samples, BATCH_ROWS)))
                pq.write_table(rows, self.out / f"{Path(shard.key).stem}.parquet")
                count += rows.num_rows
                if images is not None:
                    break
            return count

        self.out.mkdir(exist_ok=True)
        work(WARM_IMAGES)
        return work


def batches(samples: Iterator[Sample], rows: int) -> Iterator[list[Sample]]:
    """Lists of `rows` samples; the last one is what is left."""
    while batch := list(islice(samples, rows)):
        yield batch


def make_preprocessor(preprocess: Mapping[str, Any]) -> Preprocessor:
    limit_threads()
    return Preprocessor(PreprocessSettings.model_validate(preprocess), max_pixels=MAX_PIXELS)


def _shards(format_name: str, files: Sequence[str]) -> tuple[list[Shard], InputSettings]:
    settings, format = InputSettings(uri=parent(files[0]), format=format_name), format_named(format_name)
    return [s for uri in files for s in format.cut(storage_for(uri).stat(uri), parent(uri), "", settings)], settings


def _samples(shards: Sequence[Shard], settings: InputSettings) -> Iterator[Sample]:
    format = format_named(settings.format)
    return (sample for shard in shards for sample in format.read(shard, settings, lambda row: True))
