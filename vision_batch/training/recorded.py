"""Which epochs of a training have their row already, whichever run has written it."""

from __future__ import annotations

import re
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.errors import NotFoundError, StorageError
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import relative_to


def recorded_epochs(metrics: str, *, fold: int | None) -> set[int]:
    """The epochs, from 0, of all METRICS/<run id>/[fold-<k>/]epochs-*.parquet. StorageError.

    A file that is gone by now, or is no Parquet, tells of none.
    """
    storage = storage_for(metrics)
    within = "" if fold is None else f"fold-{fold}/"
    epochs_file = re.compile(rf"[^/]+/{within}epochs-[0-9]+\.parquet")
    files: list[ReadRequest] = []
    with suppress(NotFoundError):
        files += [
            ReadRequest(uri=info.uri, size_bytes=info.size_bytes)
            for info in storage.list(metrics)
            if epochs_file.fullmatch(relative_to(info.uri, metrics))
        ]
    found: set[int] = set()
    for data in storage.read_many(files):
        if isinstance(data, NotFoundError):
            continue
        if isinstance(data, StorageError):
            raise data
        with suppress(pa.ArrowInvalid):
            numbers = pq.read_table(pa.BufferReader(data), columns=["epoch"], use_threads=False)["epoch"].to_pylist()
            found.update(number - 1 for number in numbers)
    return found
