"""Rows by hash in temporary files, so that what belongs together can be looked at a part at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from vision_batch.datasets.parquet_table import BATCH_BYTES, BATCH_ROWS
from vision_batch.evaluation.id_index import id_hashes

PARTITIONS: Final = 128
"""100 million truths of 100 bytes are 80 MB each."""
_BITS: Final = np.uint64(57)


def partition(folder: Path, name: str, batches: Iterable[pa.RecordBatch], *, key: str) -> list[Path]:
    """Writes every batch's rows to the file of the hash of their `key` column; None of a file without rows."""
    paths = [folder / f"{name}-{number}.arrow" for number in range(PARTITIONS)]
    with ExitStack() as stack:
        writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        for batch in batches:
            number = (id_hashes(batch.column(key)) >> _BITS).astype(np.int64)
            ordered = batch.take(pa.array(np.argsort(number, kind="stable")))
            ends = np.cumsum(np.bincount(number, minlength=PARTITIONS))
            for place in np.unique(number).tolist():
                if place not in writers:
                    options = pa.ipc.IpcWriteOptions(compression="lz4")
                    writers[place] = stack.enter_context(
                        pa.ipc.new_stream(str(paths[place]), batch.schema, options=options)
                    )
                start = int(ends[place - 1]) if place else 0
                writers[place].write_batch(ordered.slice(start, int(ends[place]) - start))
    return paths


def read_partition(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file, in the order that they were written in, as batches of the size that tables are read in.

    Each batch that was written is only a 128th of one, and whoever works on batches would be as slow with it.
    """
    if not path.exists():
        return
    held: list[pa.RecordBatch] = []
    with pa.ipc.open_stream(str(path)) as reader:
        for batch in reader:
            held.append(batch)
            if sum(map(len, held)) >= BATCH_ROWS or sum(each.nbytes for each in held) >= BATCH_BYTES:
                yield pa.concat_batches(held)
                held = []
    if held:
        yield pa.concat_batches(held)
