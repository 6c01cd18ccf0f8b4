"""A PyTorch DataLoader with a worker per core and our own decoder and resize; the main process predicts and writes.

After https://docs.pytorch.org/docs/stable/data.html: an iterable dataset that splits its files among the workers,
automatic batching, batches in whatever order they come.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tests.benchmarks import tiny
from tests.benchmarks.work import BATCH_ROWS, MAX_PIXELS, PREPROCESS, SCHEMA, normalise, table
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.resize import limit_threads
from vision_batch.images.settings import PreprocessSettings


class Images(IterableDataset[tuple[str, int, int, torch.Tensor]]):
    """Id, width, height and uint8 pixels (H, W, 3) of every image in the files."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def __iter__(self) -> Iterator[tuple[str, int, int, torch.Tensor]]:
        worker = get_worker_info()
        assert worker is not None
        preprocessor = Preprocessor(PreprocessSettings.model_validate(PREPROCESS), max_pixels=MAX_PIXELS)
        for file in self._files[worker.id :: worker.num_workers]:
            for rows in pq.ParquetFile(file).iter_batches(BATCH_ROWS):
                for name, data in zip(rows["id"].to_pylist(), rows["image"], strict=True):
                    image = preprocessor(data.as_py())
                    yield name, image.width, image.height, torch.from_numpy(image.pixels)


def main(data: str, out: str) -> None:
    model = tiny.build()
    loader: DataLoader[Any] = DataLoader(
        Images(sorted(Path(data).iterdir())),
        batch_size=BATCH_ROWS,
        num_workers=len(os.sched_getaffinity(0)),
        worker_init_fn=lambda number: limit_threads(),
        in_order=False,
    )
    Path(out).mkdir()
    with pq.ParquetWriter(Path(out) / "predictions.parquet", SCHEMA) as writer, torch.inference_mode():
        for names, widths, heights, pixels in loader:
            writer.write_table(table(names, widths.tolist(), heights.tolist(), model(normalise(pixels))))


if __name__ == "__main__":
    main(*sys.argv[1:])
