"""The seam between the pipeline and where bytes live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from vision_batch.errors import StorageError
from vision_batch.storage.object_info import ObjectInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """One whole object to read; with `version`, only that version of it.

    `size_bytes`, where it is known, lets many reads share a budget of bytes exactly rather than by a guess. An object
    of more than `most_bytes` is not read: TooLargeError.
    """

    uri: str
    version: str | None = None
    size_bytes: int | None = None
    most_bytes: int | None = None


class Storage(Protocol):
    """What every kind of storage can do. Errors, after retries, are `vision_batch.errors.StorageError` and below."""

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Every object below a folder, recursively, in byte order of URIs; NotFoundError without the folder."""

    def stat(self, uri: str) -> ObjectInfo:
        """One object; NotFoundError if it is not there."""

    def read(self, uri: str, *, version: str | None = None) -> bytes:
        """A whole object; ChangedError if `version` is given and no longer current."""

    def read_range(self, uri: str, start: int, stop: int, *, version: str | None = None) -> bytes:
        """Bytes [start, stop) of an object, fewer at its end."""

    def read_many(self, requests: Iterable[ReadRequest]) -> Iterator[bytes | StorageError]:
        """Whole objects, concurrently, in the order of `requests`; a failure is yielded in its object's place.

        Memory is bounded in bytes: `requests` is consumed only as far as the window reaches.
        """

    def open(self, info: ObjectInfo) -> BinaryIO:
        """A seekable reader of one version of an object that reads ahead; raises ChangedError when it changes."""

    def put(
        self,
        uri: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_version: str | None = None,
        scratch: str | None = None,
    ) -> ObjectInfo:
        """Writes an object whole or not at all: bytes, or all that an open file holds.

        With `if_absent`, ExistsError when there is one already (exactly one of several writers wins); a writer whose
        answer got lost may see it for its own object, so the caller compares. With `if_version`, ChangedError when the
        present object is another version or gone. `scratch` is the folder for temporary files where a storage needs
        them, on the same file system; by default the object's own folder.
        """

    def delete(self, uri: str, *, if_version: str | None = None, scratch: str | None = None) -> None:
        """Removes an object; one that is not there is no error.

        With `if_version`, ChangedError when another version is there, which stays. Each storage says how far that
        holds against a writer of the same moment. `scratch` as in `put`.
        """
