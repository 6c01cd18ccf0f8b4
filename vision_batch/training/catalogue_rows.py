"""What a catalogue keeps of every row: 12 bytes, of which any run can be read alone.

A row is the hash of its image's name and the number of its label, little-endian, without anything between: where row
n lies is a multiplication, so that a lane gets the rows of its next block with one small read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vision_batch.errors import LedgerError, NotFoundError
from vision_batch.ledger.paths import WAY_OUT
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join

ROW = np.dtype([("name", "<u8"), ("label", "<i4")])
NO_LABEL, NO_IMAGE = -1, -2
"""Instead of a label's number: it cannot be used; there is no image any more."""
OBJECT_ROWS = 1 << 20
MOST_HELD_ROWS = 1 << 22
"""A catalogue of at most so many rows is read once and held: 48 MiB."""


class RowsWriter:
    """Stores rows as they come, many in one object; `digests` names each object's content once `finish` is called."""

    def __init__(self, folder: str, scratch: str) -> None:
        self.digests: list[str] = []
        self.count = 0
        self._folder = folder
        self._scratch = scratch
        self._waiting: list[NDArray[np.void]] = []
        self._waiting_rows = 0

    def add(self, names: NDArray[np.uint64], labels: NDArray[np.int32]) -> None:
        """Takes the rows of one shard."""
        rows = np.empty(len(names), ROW)
        rows["name"], rows["label"] = names, labels
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        self.count += len(rows)
        while self._waiting_rows >= OBJECT_ROWS:
            self._store(OBJECT_ROWS)

    def finish(self) -> None:
        """Stores what waits."""
        if self._waiting_rows:
            self._store(self._waiting_rows)

    def _store(self, count: int) -> None:
        rows = np.concatenate(self._waiting)
        data, rest = rows[:count].tobytes(), rows[count:]
        uri = object_uri(self._folder, len(self.digests))
        storage_for(uri).put(uri, data, scratch=self._scratch)
        self.digests.append(hashlib.sha256(data).hexdigest())
        self._waiting, self._waiting_rows = [rest], len(rest)


class Rows:
    """The rows that were stored, of few all held. Any number of threads may ask. LedgerError where some are lost."""

    def __init__(self, folder: str, count: int, digests: Sequence[str]) -> None:
        self._folder = folder
        self._count = count
        self._digests = digests
        self._held: NDArray[np.void] | None = None

    def __getitem__(self, rows: slice) -> NDArray[np.void]:
        """Rows [start, stop) as an array of ROW."""
        if self._count > MOST_HELD_ROWS:
            return self._read(rows.start, rows.stop)
        if self._held is None:
            self._held = np.concatenate([np.empty(0, ROW), *self.objects()])
        return self._held[rows]

    def objects(self) -> Iterator[NDArray[np.void]]:
        """All rows, object by object, each compared with its digest."""
        for number, digest in enumerate(self._digests):
            uri = object_uri(self._folder, number)
            data = self._bytes(uri, 0, OBJECT_ROWS * ROW.itemsize)
            if hashlib.sha256(data).hexdigest() != digest:
                raise LedgerError(uri, f"its content is not what was written; {WAY_OUT}")
            yield np.frombuffer(data, ROW)

    def _read(self, start: int, stop: int) -> NDArray[np.void]:
        pieces = [np.empty(0, ROW)]
        while start < stop:
            number, first = divmod(start, OBJECT_ROWS)
            count = min(stop - start, OBJECT_ROWS - first)
            uri = object_uri(self._folder, number)
            data = self._bytes(uri, first * ROW.itemsize, (first + count) * ROW.itemsize)
            if len(data) != count * ROW.itemsize:
                raise LedgerError(uri, f"is shorter than what was written; {WAY_OUT}")
            pieces.append(np.frombuffer(data, ROW))
            start += count
        return np.concatenate(pieces)

    def _bytes(self, uri: str, start: int, stop: int) -> bytes:
        try:
            return storage_for(uri).read_range(uri, start, stop)
        except NotFoundError as error:
            raise LedgerError(uri, f"rows of the catalogue are missing; {WAY_OUT}") from error


def object_uri(folder: str, number: int) -> str:
    return join(folder, f"rows-{number:06d}")
