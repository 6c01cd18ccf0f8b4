"""Files of models that lie on S3, fetched once for all processes of a machine.

A copy is called by the SHA-256 of what it holds, so that whoever finds it knows whether it is the right one: models
that share a file share its copy, and one that changed has another. Notes beside the copies say which digest an object
had in which version, so that a driver that runs again reads none of it. All is in the folder for temporary files, in a
folder that this user alone may read and write.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from vision_batch.errors import ForbiddenError, ModelError, NotFoundError, StorageError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for

BLOCK_BYTES: Final = 8 << 20
KEPT_BYTES: Final = 20 << 30
"""All copies of a machine: what was used last is kept."""
IN_USE_S: Final = 3600
"""A copy that was asked for so lately may be about to be opened: it stays, however many there are."""
DIGEST: Final = re.compile("[0-9a-f]{64}")
PARTIAL: Final = ".part"
NOTE: Final = ".sha256"


def node_copy(uri: str, sha256: str) -> Path:
    """This machine's copy of the object `uri`, whose bytes have the digest `sha256`; of several processes one fetches.

    What it holds is compared each time: a copy that somebody has spoiled is fetched anew. ModelError if the object is
    another one, or cannot be read, or there is no room for it; UnavailableError while the storage does not answer.
    """
    try:
        return _copied(uri, sha256)
    except (NotFoundError, ForbiddenError) as error:
        raise out_of_reach(error) from error
    except OSError as error:
        raise ModelError(f"{uri} cannot be copied into {tempfile.gettempdir()}: {error}") from error


def node_digest(uri: str) -> str:
    """The SHA-256 of an object as it is now, hexadecimal; its copy stays for the processes of this machine.

    StorageError where it cannot be read, OSError where there is no room for a copy.
    """
    info = storage_for(uri).stat(uri)
    folder = _private_folder()
    name = hashlib.sha256(f"{uri}\n{info.version}".encode()).hexdigest()
    note = folder / (name + NOTE)
    while (digest := _noted(note)) is None:
        with _turn(folder / (name + PARTIAL)) as partial:
            if _noted(note) is None:
                found = _fetch(info, partial)
                _forget_oldest(folder)
                os.replace(partial.name, folder / found)
                _write_note(note, found)
    os.utime(note)
    return digest


def out_of_reach(error: StorageError) -> ModelError:
    """What to say of a model's file that a worker may not read, or does not find."""
    return ModelError(f"{error}; every worker must be able to read it")


def changed(uri: str) -> ModelError:
    """What to say of a model's file that is not the one that was digested."""
    return ModelError(f"{uri} has changed since the run began; run again")


def _copied(uri: str, sha256: str) -> Path:
    folder = _private_folder()
    copy = folder / sha256
    while not _holds(copy, sha256):
        with _turn(folder / (sha256 + PARTIAL)) as partial:
            if not _holds(copy, sha256):  # else another process has fetched it in the meantime
                if _fetch(storage_for(uri).stat(uri), partial) != sha256:
                    raise changed(uri)
                _forget_oldest(folder)
                os.replace(partial.name, copy)
    return copy


def _private_folder() -> Path:
    """Made where it is missing; PermissionError for one that somebody else could write to."""
    folder = Path(tempfile.gettempdir(), f"vision-batch-models-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone; remove it")
    return folder


def _holds(copy: Path, sha256: str) -> bool:
    try:
        os.utime(copy)  # it is in use: nobody forgets it while it is read, which takes a while
        with copy.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


@contextmanager
def _turn(path: Path) -> Iterator[BinaryIO]:
    """The empty file `path`, for one process at a time, which may rename it. The lock ends with the process."""
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, path):  # who had the lock before has renamed or removed the file
                continue
            file.truncate(0)
            try:
                yield file
            finally:
                if _is_at(file, path):
                    path.unlink()
            return


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _fetch(info: ObjectInfo, into: BinaryIO) -> str:
    """The SHA-256 of what was written."""
    digest = hashlib.sha256()
    with storage_for(info.uri).open(info) as reader:
        while block := reader.read(BLOCK_BYTES):
            digest.update(block)
            into.write(block)
    into.flush()
    return digest.hexdigest()


def _noted(note: Path) -> str | None:
    try:
        digest = note.read_text()
    except FileNotFoundError:
        return None
    return digest if DIGEST.fullmatch(digest) else None


def _write_note(note: Path, digest: str) -> None:
    """In one step: whoever reads it reads all of it."""
    with tempfile.NamedTemporaryFile("w", dir=note.parent, suffix=PARTIAL, delete=False) as file:
        file.write(digest)
    os.replace(file.name, note)


def _forget_oldest(folder: Path) -> None:
    """Removes what was not used for longest, until the rest is small enough. Who has a file open keeps it."""
    files = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process is doing the same
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    kept = 0
    for used, size_bytes, path in sorted(files, reverse=True):
        kept += size_bytes
        if kept > KEPT_BYTES and time.time() - used > IN_USE_S:
            path.unlink(missing_ok=True)
