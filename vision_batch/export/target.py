"""Where an export goes: a folder of its own, in which every file appears whole."""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, BinaryIO, Final, cast

from vision_batch.errors import ExistsError, NotFoundError, Problem, SpecError
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, scheme

MARKER: Final = "_export.json"
WRITERS: Final = 16
WAITING: Final = 4 * WRITERS
WAITING_BYTES: Final = 256 << 20
"""So many files, and so many bytes of them, are in memory at most; large files are spooled to a disk."""
DELETED: Final = 1000
"""How many files of an earlier export are removed with one listing."""


class Target:
    """The files of one export. Names are relative; they come from `safe_name`. A context: leaving it ends writing."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.files = 0
        self._storage = storage_for(uri)
        self._pool = ThreadPoolExecutor(WRITERS, "export")
        self._waiting: deque[tuple[Future[bool], int, Callable[[], None]]] = deque()
        self._waiting_bytes = 0

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def claim(self, facts: Mapping[str, Any]) -> None:
        """Makes the folder that of an export of these `facts`; one that is there already, whole or not, is removed.

        SpecError for a folder with anything else in it.
        """
        first = next(self._listed(), None)
        if first is not None and self._facts() != facts:
            expected = f"a new or empty folder, or an earlier export of the same: {json.dumps(facts)}"
            raise SpecError(Problem("--to", first, expected))
        self._mark({"export": facts, "complete": False})
        while some := [uri for uri in islice(self._listed(), 1 + DELETED) if uri != join(self.uri, MARKER)]:
            list(self._pool.map(self._storage.delete, some))

    def put(self, name: str, data: bytes, taken: Callable[[], None]) -> None:
        """Writes a file, soon: what goes wrong is raised by a later call.

        Where another file has the name and other content it stays, and `taken` is called, by a later call too.
        """
        self._waiting.append((self._pool.submit(self._put, join(self.uri, name), data), len(data), taken))
        self._waiting_bytes += len(data)
        while len(self._waiting) > WAITING or self._waiting_bytes > WAITING_BYTES:
            self._wait()

    @contextmanager
    def spool(self, name: str) -> Iterator[BinaryIO]:
        """A file of any size, collected on this machine's disk and written at the end; not after an exception."""
        with tempfile.TemporaryFile() as file:
            yield cast(BinaryIO, file)
            self.put_file(name, cast(BinaryIO, file))

    def put_file(self, name: str, file: BinaryIO) -> None:
        """Writes all that a temporary file holds, now."""
        self._storage.put(join(self.uri, name), file)
        self.files += 1

    def finish(self, facts: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Waits for all files, and says in the folder that it is complete."""
        self.flush()
        self._mark({"export": facts, "complete": True, "summary": summary})

    def flush(self) -> None:
        """Waits for all files."""
        while self._waiting:
            self._wait()

    def _mark(self, marker: Mapping[str, Any]) -> None:
        self._storage.put(join(self.uri, MARKER), json.dumps(marker, indent=2).encode())

    def _wait(self) -> None:
        future, size_bytes, taken = self._waiting.popleft()
        self._waiting_bytes -= size_bytes
        if future.result():
            self.files += 1
        else:
            taken()

    def _put(self, uri: str, data: bytes) -> bool:
        """False where another file has the name, or a folder. The same content may be there: of this call, or equal."""
        try:
            self._storage.put(uri, data, if_absent=True)
        except ExistsError:
            with suppress(NotFoundError):  # it is a folder
                return self._storage.read(uri) == data
            return False
        except NotFoundError:  # on S3 the bucket, or a folder above is a file
            if scheme(uri):
                raise
            return False
        return True

    def _listed(self) -> Iterator[str]:
        try:
            yield from (info.uri for info in self._storage.list(self.uri))
        except NotFoundError:
            return

    def _facts(self) -> Any:
        """What the export that is there is of; None where there is none."""
        try:
            return json.loads(self._storage.read(join(self.uri, MARKER)))["export"]
        except (NotFoundError, ValueError, KeyError, TypeError):
            return None
