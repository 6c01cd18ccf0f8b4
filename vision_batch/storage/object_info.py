"""What a listing says of one stored object."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One stored object.

    `version` changes whenever the content does: the unquoted ETag on S3, modification time in nanoseconds and size on
    a file system.
    """

    uri: str
    size_bytes: int
    version: str
