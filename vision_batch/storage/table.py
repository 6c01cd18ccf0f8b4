"""Which storage serves which URI: one line per scheme."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from vision_batch.errors import Problem, SpecError
from vision_batch.storage.local import LocalStorage
from vision_batch.storage.storage import Storage
from vision_batch.storage.uri import scheme

if TYPE_CHECKING:
    from vision_batch.storage.s3 import S3Storage


@cache
def local_storage() -> LocalStorage:
    """This process's storage of local paths."""
    return LocalStorage()


@cache
def s3_storage() -> S3Storage:
    """This process's storage of s3:// URIs, with credentials, region and endpoint as the environment has them now."""
    from vision_batch.storage.s3 import S3Storage  # here, because s3fs is slow to import

    return S3Storage()


def forget_s3() -> None:
    """Closes this process's S3 storage, if there is one: the next use reads the environment again."""
    if s3_storage.cache_info().currsize:
        s3_storage().close()
        s3_storage.cache_clear()


STORAGES: dict[str, Callable[[], Storage]] = {"": local_storage, "s3": s3_storage}


def storage_for(uri: str) -> Storage:
    """The storage of a normalised URI, one instance per process and scheme; SpecError for an unknown scheme."""
    kind = scheme(uri)
    if kind not in STORAGES:
        raise SpecError(Problem(uri, f"the scheme {kind}://", "a local path or s3://"))
    return STORAGES[kind]()
