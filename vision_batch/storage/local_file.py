"""One file as a stored object: its version, reading it, writing it in one step."""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import stat
from contextlib import suppress
from typing import BinaryIO, Final

from vision_batch.errors import ChangedError, ExistsError, NotFoundError, TooLargeError, UnavailableError
from vision_batch.storage.local_errors import translated
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.retry import Retry, TransientError

NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}
VANISHED = "its temporary file vanished"
TEMPORARY = r"\.[0-9a-f]{24}\.tmp"
"""A pattern of the names of temporary files, which a killed process leaves behind."""
COPIED_BYTES: Final = 1 << 20
"""Of a file that is written, in memory at a time."""


def info_of(path: str, status: os.stat_result) -> ObjectInfo:
    """What a stat(2) of a regular file says; NotFoundError for anything else.

    A file rewritten with the same size within one tick of the file system's clock (some ms) keeps its version: no
    file system tells more without reading the file.
    """
    if not stat.S_ISREG(status.st_mode):
        raise NotFoundError(path, "is not a file")
    return ObjectInfo(uri=path, size_bytes=status.st_size, version=f"{status.st_mtime_ns}-{status.st_size}")


def stat_file(path: str) -> ObjectInfo:
    """Size and version of a regular file; NotFoundError for a folder or a device."""
    with translated(path):
        return info_of(path, os.stat(path))


def read_file(path: str, start: int, stop: int | None, version: str | None, *, most_bytes: int | None = None) -> bytes:
    """Bytes [start, stop) of a file, to its end when `stop` is None; TooLargeError for a file of over `most_bytes`.

    The version is compared before and after, so that a file that is rewritten meanwhile gives ChangedError, not a mix.
    """
    with translated(path), open(path, "rb", buffering=0, opener=_opener) as file:
        before = info_of(path, os.fstat(file.fileno()))
        _demand(before, version)
        if most_bytes is not None and before.size_bytes > most_bytes:
            raise TooLargeError(path, f"{before.size_bytes} bytes, more than {most_bytes}")
        data = _read_fully(file, start, before.size_bytes if stop is None else min(stop, before.size_bytes))
        _demand(info_of(path, os.fstat(file.fileno())), version)
        return data


def _opener(path: str, flags: int) -> int:
    """Opens a pipe too, which is refused then, without waiting for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def write_file(
    path: str, data: bytes | BinaryIO, scratch: str, *, if_absent: bool, if_version: str | None
) -> ObjectInfo:
    """Makes `path` hold `data` in one step: a synced temporary file in `scratch` gets the name.

    A temporary file may be removed by whoever takes its writer for dead; it is then written again.
    """
    temporary = _temporary(scratch)
    try:
        with translated(path):
            os.makedirs(scratch, exist_ok=True)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            info = _write_synced(temporary, path, data)
            if if_absent:
                _link(temporary, path)
            else:
                if if_version is not None:
                    _demand_present(path, if_version)
                _replace(temporary, path)
            _sync_folder(os.path.dirname(path))
            return info
    finally:
        with suppress(OSError):  # what led here says more, and after a success a leftover in scratch does no harm
            os.unlink(temporary)


def delete_file(path: str) -> None:
    """Removes a file; one that is not there is no error."""
    with translated(path), suppress(FileNotFoundError):
        os.unlink(path)


def delete_version(path: str, version: str, scratch: str) -> None:
    """Removes a file if it is this version; ChangedError when it is another, no error when there is none.

    No file system removes under a condition. So the file gets a name in `scratch` by rename(2), and what was caught is
    compared. Another version, whose writer came just before, is linked back unless there is a newer one again. It is
    lost only if this process ends between these two calls, or somebody clears `scratch` there.
    """
    with translated(path):
        os.makedirs(scratch, exist_ok=True)
        caught = _temporary(scratch)
        try:
            _demand(info_of(path, os.stat(path)), version)
            os.rename(path, caught)
        except FileNotFoundError:
            return
        try:
            found = info_of(path, os.stat(caught))
            if found.version != version:
                with suppress(FileExistsError):
                    os.link(caught, path)
        except FileNotFoundError as error:
            raise ChangedError(path, "another version was there, and is gone by now") from error
        with suppress(FileNotFoundError):
            os.unlink(caught)
        _demand(found, version)


class VersionedFile(io.RawIOBase):
    """A seekable raw reader that compares the file's version after every read."""

    def __init__(self, info: ObjectInfo, retry: Retry) -> None:
        super().__init__()
        self._info = info
        self._retry = retry
        self._position = 0
        with translated(info.uri):
            self._file = open(info.uri, "rb", buffering=0, opener=_opener)  # noqa: SIM115 (closed by close)
        try:
            self._demand_version()
        except BaseException:
            self.close()
            raise

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._retry.run_blocking(self._info.uri, lambda: self._read_at(buffer))
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._info.size_bytes}[whence]
        if origin + offset < 0:
            raise ValueError(f"seek before the start: {origin + offset}")
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _read_at(self, buffer: memoryview) -> int:
        with translated(self._info.uri):
            count = os.preadv(self._file.fileno(), [buffer], self._position)
            self._demand_version()
            return count

    def _demand_version(self) -> None:
        _demand(info_of(self._info.uri, os.fstat(self._file.fileno())), self._info.version)


def _demand(info: ObjectInfo, version: str | None) -> None:
    if version is not None and info.version != version:
        raise ChangedError(info.uri, f"changed: version {info.version}, expected {version}")


def _demand_present(path: str, version: str) -> None:
    try:
        _demand(stat_file(path), version)
    except NotFoundError as error:
        raise ChangedError(path, f"is gone, expected version {version}") from error


def _read_fully(file: io.FileIO, start: int, stop: int) -> bytes:
    """Bytes [start, stop): one read(2) gives at most 2 GiB, and less on some network file systems."""
    file.seek(start)
    pieces: list[bytes] = []
    remaining = max(0, stop - start)
    while remaining and (piece := file.read(remaining)):
        pieces.append(piece)
        remaining -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _temporary(scratch: str) -> str:
    return os.path.join(scratch, f".{secrets.token_hex(12)}.tmp")


def _write_synced(temporary: str, path: str, data: bytes | BinaryIO) -> ObjectInfo:
    with open(temporary, "xb") as file:
        if isinstance(data, bytes | bytearray | memoryview):
            file.write(data)
        else:
            data.seek(0)
            shutil.copyfileobj(data, file, COPIED_BYTES)
        file.flush()
        os.fsync(file.fileno())
        return info_of(path, os.fstat(file.fileno()))


def _link(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise ExistsError(path, "is there already") from error
    except FileNotFoundError as error:
        raise TransientError(VANISHED) from error
    except OSError as error:
        if error.errno in NO_LINKS:
            advice = "vision-batch needs hard links here: choose an output on a local disk, NFS or s3://"
            raise UnavailableError(path, f"cannot link {temporary}: {os.strerror(error.errno)}; {advice}") from error
        raise


def _replace(temporary: str, path: str) -> None:
    try:
        os.replace(temporary, path)
    except FileNotFoundError as error:
        raise TransientError(VANISHED) from error


def _sync_folder(folder: str) -> None:
    """Makes a new name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot sync a folder, and do so by themselves
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
