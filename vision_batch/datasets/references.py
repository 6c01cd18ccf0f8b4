"""Images that a Parquet file only names: where a name leads, whether it may, and fetching what is there."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from vision_batch.datasets.naming import shortened
from vision_batch.datasets.sample import MAX_IMAGE_BYTES, Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.errors import ImageError, NotFoundError, StorageError, TooLargeError
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import STORAGES, storage_for
from vision_batch.storage.uri import bucket_and_key, is_inside, name, parent, scheme, shown

MOST_KEY_BYTES = 1024
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""
RUN_ROWS = 4096
"""How many rows may wait for the images before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where the references of one Parquet file may lead: below `allowed`, relative ones counted from `folder`.

    Names decide: a symbolic link inside an allowed folder is followed wherever it leads, for who lists a name in a file
    can make no link.
    """

    folder: str
    allowed: tuple[str, ...]

    @classmethod
    def of(cls, shard: Shard, settings: InputSettings) -> Scope:
        """The input's own root, and what `input.allow` adds. Where a glob's root is the whole machine, the file's
        folder is meant.
        """
        folder = parent(shard.files[0].uri)
        added = (_local(entry).rstrip("/") for entry in settings.allow)
        return cls(folder=folder, allowed=(folder if shard.root == "/" else shard.root, *added))

    def resolve(self, reference: str) -> str:
        """The URI that `reference` means; ImageError `forbidden`, `unsupported` or `missing` if it cannot be read."""
        uri = self._absolute(reference)
        if not any(is_inside(uri, prefix) for prefix in self.allowed):
            raise ImageError("forbidden", f"{_shown(reference)} leads out of the input; input.allow permits more")
        if scheme(uri) not in STORAGES:
            raise ImageError("unsupported", f"{_shown(reference)}: nothing reads {scheme(uri)}:// here")
        if not reference or not name(uri) or "\0" in uri or _is_beyond_s3(uri):
            raise ImageError("missing", f"{_shown(reference)!r} names no file")
        return uri

    def _absolute(self, reference: str) -> str:
        path = _local(reference)
        kind = scheme(path)
        if kind not in ("", "s3"):
            return kind + path[len(kind) :]
        uri = f"s3{path[2:]}" if kind else path if path.startswith("/") else f"{self.folder.rstrip('/')}/{path}"
        return _without_dots(uri)


def fetched(rows: Iterable[tuple[Sample, str | None]]) -> Iterator[Sample]:
    """Every sample, in order, with the bytes of the URI beside it; those without a URI stay as they are.

    Neighbours of one scheme are fetched concurrently, at most RUN_ROWS at a time. A 404 is a `missing` image; what
    else the storage raises is raised here.
    """
    for (kind, _), run in groupby(_with_runs(rows), key=lambda item: item[0]):
        pairs = ((sample, uri) for _, sample, uri in run)
        yield from (sample for sample, _ in pairs) if kind is None else _fetched_run(kind, pairs)


def _with_runs(
    rows: Iterable[tuple[Sample, str | None]],
) -> Iterator[tuple[tuple[str | None, int], Sample, str | None]]:
    """Each row with its run: a scheme, or None for rows with bytes, which must not pile up behind a fetch.

    An error row joins the run before it.
    """
    kind: str | None = None
    for index, (sample, uri) in enumerate(rows):
        if uri is not None:
            kind = scheme(uri)
        elif sample.data is not None:
            kind = None
        yield (kind, index // RUN_ROWS), sample, uri


def _fetched_run(kind: str, rows: Iterator[tuple[Sample, str | None]]) -> Iterator[Sample]:
    waiting: deque[tuple[Sample, str | None]] = deque()

    def requests() -> Iterator[ReadRequest]:
        for sample, uri in rows:
            waiting.append((sample, uri))
            if uri is not None:
                yield ReadRequest(uri=uri, most_bytes=MAX_IMAGE_BYTES)

    contents = storage_for(f"{kind}://" if kind else "/").read_many(requests())
    for content in contents:
        while waiting[0][1] is None:
            yield waiting.popleft()[0]
        yield _filled(waiting.popleft()[0], content)
    yield from (sample for sample, _ in waiting)


def _filled(sample: Sample, content: bytes | StorageError) -> Sample:
    if isinstance(content, NotFoundError):
        return replace(sample, error=ImageError("missing", shortened(str(content))))
    if isinstance(content, TooLargeError):
        return replace(sample, error=ImageError("too_large", content.message))
    if isinstance(content, StorageError):
        raise content
    return replace(sample, data=content)


def _is_beyond_s3(uri: str) -> bool:
    """Whether no object can have this key; servers may refuse it as no request at all, which is no answer."""
    return scheme(uri) == "s3" and len(bucket_and_key(uri)[1].encode(errors="replace")) > MOST_KEY_BYTES


def _local(reference: str) -> str:
    """`reference` without a file:// in front; `file:/path` and `file://localhost/path` are paths too."""
    if reference[:6].lower() != "file:/":
        return reference
    path = reference[5:]
    for host in ("//localhost/", "///"):
        if path.startswith(host):
            return "/" + path[len(host) :]
    return path.removeprefix("//")


def _without_dots(uri: str) -> str:
    """`uri` without `.` and `..`, which do not leave a bucket; a key without them stays as it is."""
    kind = scheme(uri)
    if not kind:
        return "/" + posixpath.normpath(uri).lstrip("/")
    bucket, _, key = uri[len("s3://") :].partition("/")
    if not {".", ".."} & set(key.split("/")):
        return uri
    return f"s3://{bucket}{posixpath.normpath(f'/{key}')}"


def _shown(reference: str) -> str:
    """As it fits into a message."""
    return shortened(shown(reference))
