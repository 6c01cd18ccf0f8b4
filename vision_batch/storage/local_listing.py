"""A folder's files, recursively, in the byte order of their whole paths."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from functools import partial

from vision_batch.errors import NotFoundError
from vision_batch.storage.local_errors import MISSING, translated
from vision_batch.storage.local_file import info_of
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.retry import Retry

log = logging.getLogger(__name__)
MISSING_VERSION = "missing"

FolderId = tuple[int, int]


def list_files(folder: str, retry: Retry) -> Iterator[ObjectInfo]:
    """Regular files below `folder`. Memory is bounded by the entries of one folder on each level.

    Links to files and folders are followed, except a link to a folder that holds it (it would show the same files
    again, without end). A link to nothing is listed with size 0 and version "missing": its reader reports it, and it
    does not vanish from the count. Sockets, pipes and devices are no files.
    NotFoundError without the folder, ForbiddenError when it or one below it cannot be read.
    """
    return _walk(folder, retry, (retry.run_blocking(folder, lambda: _identity(folder)),))


def _walk(folder: str, retry: Retry, above: tuple[FolderId, ...]) -> Iterator[ObjectInfo]:
    for name in retry.run_blocking(folder, lambda: _entries(folder)):
        path = os.path.join(folder, name.removesuffix("/"))
        if not name.endswith("/"):
            info = retry.run_blocking(path, partial(_file, path))
            if info is not None:
                yield info
        elif (identity := retry.run_blocking(path, partial(_identity, path))) in above:
            log.warning("%s leads back to a folder above it: not followed", path)
        else:
            yield from _walk(path, retry, (*above, identity))


def _entries(folder: str) -> list[str]:
    """Names, folders' with a slash at the end: sorted like this they give the order of whole paths ("a.b" < "a/b")."""
    with translated(folder), os.scandir(folder) as entries:
        return sorted(f"{entry.name}/" if _is_folder(entry) else entry.name for entry in entries)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in MISSING:  # a link that leads to itself
            return False
        raise


def _file(path: str) -> ObjectInfo | None:
    """None for what is no file, or was removed since its folder was read."""
    with translated(path):
        try:
            status = os.stat(path)
        except OSError as error:
            if error.errno not in MISSING:
                raise
            return _dangling(path) if os.path.islink(path) else None
    return info_of(path, status) if stat.S_ISREG(status.st_mode) else None


def _dangling(path: str) -> ObjectInfo:
    return ObjectInfo(uri=path, size_bytes=0, version=MISSING_VERSION)


def _identity(folder: str) -> FolderId:
    with translated(folder):
        status = os.stat(folder)
        if not stat.S_ISDIR(status.st_mode):
            raise NotFoundError(folder, "is a file, not a folder")
        return status.st_dev, status.st_ino
