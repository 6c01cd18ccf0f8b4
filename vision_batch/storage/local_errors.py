"""What the operating system says, in the words of `vision_batch.errors`: OSErrors are translated here and only here."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vision_batch.errors import ForbiddenError, NotFoundError, StorageError, UnavailableError
from vision_batch.storage.retry import TransientError

PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EREMOTEIO}
"""A network file system's hiccups. A full disk is not among them: it will not be less full in a second."""

MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}
"""The last is a socket's answer."""
ADVICE = {
    errno.ENOSPC: "; free some space, then run again to resume",
    errno.EDQUOT: "; free some of the quota, then run again to resume",
    errno.EMFILE: "; raise the limit of open files (ulimit -n)",
}


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raises what an OSError in the block means: a StorageError of `path`, or TransientError where a retry may help."""
    try:
        yield
    except OSError as error:
        raise _translate(error, path) from error


def _translate(error: OSError, path: str) -> StorageError | TransientError:
    code = error.errno or 0
    text = os.strerror(code) if code else str(error)
    if isinstance(error, PermissionError) or code == errno.EROFS:
        return ForbiddenError(path, text)
    if code in MISSING:
        return NotFoundError(path, text)
    if code in PASSING:
        return TransientError(text)
    if isinstance(error, FileExistsError):
        return NotFoundError(path, "a folder above it is a file")
    if isinstance(error, IsADirectoryError):
        return NotFoundError(path, "is a folder, not a file")
    return UnavailableError(path, text + ADVICE.get(code, ""))
