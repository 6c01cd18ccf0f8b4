"""Files of a file system as stored objects."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, cast

from vision_batch.errors import StorageError
from vision_batch.storage.local_file import VersionedFile, delete_file, delete_version, read_file, stat_file, write_file
from vision_batch.storage.local_listing import list_files
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.retry import Retry
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.window import read_in_order

BUFFER_BYTES = 256 << 10


class LocalStorage:
    """Absolute paths without a scheme. Versions are `<modification time in ns>-<size>`.

    `threads` reads run at once in `read_many`, whose bodies that wait to be handed out hold at most `window_bytes`.
    """

    def __init__(self, *, threads: int = 16, window_bytes: int = 256 << 20, retry: Retry | None = None) -> None:
        self._threads = threads
        self._window_bytes = window_bytes
        self._retry = retry or Retry(attempts=4, longest_s=5, total_s=30)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Every file below the folder `uri`; `list_files` says what becomes of links."""
        return list_files(uri, self._retry)

    def stat(self, uri: str) -> ObjectInfo:
        """One file; NotFoundError for a folder too."""
        return self._retry.run_blocking(uri, lambda: stat_file(uri))

    def read(self, uri: str, *, version: str | None = None) -> bytes:
        """A whole file; ChangedError when it changed before or while it was read."""
        return self._retry.run_blocking(uri, lambda: read_file(uri, 0, None, version))

    def read_range(self, uri: str, start: int, stop: int, *, version: str | None = None) -> bytes:
        """Bytes [start, stop) of a file, fewer at its end."""
        return self._retry.run_blocking(uri, lambda: read_file(uri, start, stop, version))

    def read_many(self, requests: Iterable[ReadRequest]) -> Iterator[bytes | StorageError]:
        """Whole files through a pool of threads, in the order of `requests`."""
        return read_in_order(requests, self._submit, most_requests=4 * self._threads, most_bytes=self._window_bytes)

    def open(self, info: ObjectInfo) -> BinaryIO:
        """A buffered reader that compares the file's version after every read from it."""
        raw = self._retry.run_blocking(info.uri, lambda: VersionedFile(info, self._retry))
        return cast(BinaryIO, io.BufferedReader(raw, BUFFER_BYTES))

    def put(
        self,
        uri: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_version: str | None = None,
        scratch: str | None = None,
    ) -> ObjectInfo:
        """Writes a temporary file into `scratch`, syncs it and gives it its name in one step.

        An open file is copied piece by piece.

        `if_absent` is as safe as link(2). `if_version` is compared just before the file is replaced: a writer that
        comes in between is not noticed, since file systems know no such condition; the ledger's lease keeps writers
        apart.
        """
        folder = scratch or os.path.dirname(uri)
        return self._retry.run_blocking(
            uri, lambda: write_file(uri, data, folder, if_absent=if_absent, if_version=if_version)
        )

    def delete(self, uri: str, *, if_version: str | None = None, scratch: str | None = None) -> None:
        """Removes a file; one that is not there is no error.

        With `if_version` the file is taken out of the folder first and compared then, so that what another writer has
        put there meanwhile is seen, and put back.
        """
        folder = scratch or os.path.dirname(uri)
        self._retry.run_blocking(
            uri, lambda: delete_file(uri) if if_version is None else delete_version(uri, if_version, folder)
        )

    def close(self) -> None:
        """Ends the pool of threads; the next `read_many` starts another."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _submit(self, request: ReadRequest) -> Future[bytes]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="read")
            return self._pool.submit(self._read_whole, request)

    def _read_whole(self, request: ReadRequest) -> bytes:
        return self._retry.run_blocking(
            request.uri, lambda: read_file(request.uri, 0, None, request.version, most_bytes=request.most_bytes)
        )
