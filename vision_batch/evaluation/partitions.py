"""Rows by hash in temporary files, so that what belongs together can be looked at a part at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

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
    """The batches of a file, none if it has no rows."""
    if path.exists():
        with pa.ipc.open_stream(str(path)) as reader:
            yield from reader
