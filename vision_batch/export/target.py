"""Where an export goes: a folder of its own, in which every file appears whole."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, BinaryIO, Final, cast

from vision_batch.errors import ExistsError, NotFoundError, Problem, SpecError
from vision_batch.storage.local_file import TEMPORARY
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, relative_to, scheme

MARKER: Final = "_export.json"
WRITERS: Final = 16
WAITING: Final = 4 * WRITERS
WAITING_BYTES: Final = 256 << 20
"""So many files, and so many bytes of them, are in memory at most; large files are spooled to a disk."""
OWN: Final = r"_export\.json|_errors\.csv"
COPIES: Final = "images/"
LEFTOVERS: Final = rf"(.+/)?{TEMPORARY}"
"""Names of files that a killed export has not finished."""
DELETED: Final = 1000
"""How many files of an earlier export are removed with one listing."""


class Target:
    """The files of one export. Names are relative; they come from `safe_name`. A context: leaving it ends writing."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.files = 0
        self._storage = storage_for(uri)
        self._pool = ThreadPoolExecutor(WRITERS, "export")
        self._waiting: deque[tuple[Future[bool], int, int, Callable[[bool], None]]] = deque()
        self._waiting_bytes = 0

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def claim(self, facts: Mapping[str, Any], names: str, *, copies: bool) -> None:
        """Makes the folder that of an export of these `facts`; one that is there already, whole or not, is removed.

        `names` is a pattern of the names of its files; with `copies` it has images too, below COPIES. SpecError, before
        anything is removed, for a folder with anything else in it, or with a link to what lies elsewhere.
        """
        whole = (uri for uri in self._listed() if re.fullmatch(LEFTOVERS, relative_to(uri, self.uri)) is None)
        first, earlier = next(whole, None), self._marker()
        if first is not None and earlier.get("export") != facts:
            expected = f"a new or empty folder, or an earlier export of the same: {json.dumps(facts)}"
            raise SpecError(Problem("--to", first, expected))
        had_copies = bool(earlier.get("copies"))
        known = re.compile("|".join([names, OWN, LEFTOVERS, *([f"{COPIES}.+"] if had_copies else [])]))
        for uri in self._listed():
            if known.fullmatch(relative_to(uri, self.uri)) is None or self._is_linked(uri):
                found = f"{uri}, which no export has written"
                raise SpecError(Problem("--to", found, "only the earlier export, to replace it; or take a new folder"))
        self._mark({"export": facts, "complete": False, "copies": had_copies or copies})
        while some := [uri for uri in islice(self._listed(), 1 + DELETED) if uri != join(self.uri, MARKER)]:
            list(self._pool.map(self._storage.delete, some))

    def put(self, files: Sequence[tuple[str, bytes]], then: Callable[[bool], None]) -> None:
        """Writes files that belong together, soon, one after the other: what goes wrong is raised by a later call.

        `then` is called by a later call, in the order of these calls, and told whether all are there. Where another
        file has one of the names, and other content, it stays; those behind it are not written.
        """
        size_bytes = sum(len(data) for _, data in files)
        self._waiting.append((self._pool.submit(self._put_all, files), len(files), size_bytes, then))
        self._waiting_bytes += size_bytes
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

    def finish(self, facts: Mapping[str, Any], summary: Mapping[str, Any], *, copies: bool) -> None:
        """Waits for all files, and says in the folder that it is complete."""
        self.flush()
        self._mark({"export": facts, "complete": True, "copies": copies, "summary": summary})

    def flush(self) -> None:
        """Waits for all files."""
        while self._waiting:
            self._wait()

    def _mark(self, marker: Mapping[str, Any]) -> None:
        self._storage.put(join(self.uri, MARKER), json.dumps(marker, indent=2).encode())

    def _wait(self) -> None:
        future, files, size_bytes, then = self._waiting.popleft()
        self._waiting_bytes -= size_bytes
        are_there = future.result()
        self.files += files if are_there else 0
        then(are_there)

    def _put_all(self, files: Sequence[tuple[str, bytes]]) -> bool:
        return all(self._put(join(self.uri, name), data) for name, data in files)

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

    def _is_linked(self, uri: str) -> bool:
        """Whether a listed file lies below a link to a folder, and so elsewhere."""
        folder = os.path.dirname(uri)
        return not scheme(uri) and os.path.realpath(folder) != os.path.realpath(self.uri) + folder[len(self.uri) :]

    def _marker(self) -> Mapping[str, Any]:
        """What the export that is there says of itself; nothing where there is none."""
        try:
            marker = json.loads(self._storage.read(join(self.uri, MARKER)))
        except (NotFoundError, ValueError):
            return {}
        return marker if isinstance(marker, dict) else {}
