"""Objects of an S3 store: one request per verb, through the client and event loop of an s3fs instance."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, BinaryIO, TypeVar

from s3fs import S3FileSystem

from vision_batch.errors import ChangedError, ExistsError, NotFoundError, StorageError, TooLargeError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.reader import open_reader
from vision_batch.storage.retry import Retry, TransientError
from vision_batch.storage.s3_errors import FAULTS, translate
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.uri import bucket_and_key
from vision_batch.storage.window import read_in_order

T = TypeVar("T")
Request = Callable[[Any], Awaitable[T]]
PAGE_KEYS = 1000
MOST_PUT_BYTES = 5 << 30
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
REFUSED = (412, 501)
"""A condition does not hold, or the server has no such condition: Precondition Failed, Not Implemented."""


class S3Storage:
    """`s3://bucket/key`. Versions are ETags without their quotes.

    Credentials, region and endpoint are the environment's, as botocore reads them, when the first request is made.
    `in_flight` requests run at once; the bodies of `read_many` that wait to be handed out hold at most `window_bytes`.
    Every method may be called from any thread but the event loop's own.
    """

    def __init__(
        self,
        *,
        in_flight: int = 256,
        window_bytes: int = 256 << 20,
        connect_timeout_s: float = 10,
        read_timeout_s: float = 60,
        retry: Retry | None = None,
    ) -> None:
        self._retry = retry or Retry()
        self._in_flight = in_flight
        self._window_bytes = window_bytes
        self._fs = _file_system(in_flight, connect_timeout_s, read_timeout_s)
        self._slots = asyncio.Semaphore(in_flight)

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Every object below `uri/`, page by page, the next page on its way while one is handed out.

        An empty prefix of a bucket is an empty listing; NotFoundError without the bucket. Empty objects whose names
        end in a slash are folder markers of other tools and left out.
        """
        bucket, key = bucket_and_key(uri)
        prefix = f"{key.removesuffix('/')}/" if key else ""
        first = self._start_page(uri, bucket, prefix, None).result()
        return self._pages(uri, bucket, prefix, first)

    def stat(self, uri: str) -> ObjectInfo:
        """One object; NotFoundError if it is not there."""
        bucket, key = bucket_and_key(uri)
        answer = self._run(uri, lambda client: client.head_object(Bucket=bucket, Key=key))
        return ObjectInfo(uri=uri, size_bytes=answer["ContentLength"], version=_version(answer))

    def read(self, uri: str, *, version: str | None = None) -> bytes:
        """A whole object; ChangedError if `version` is given and no longer current."""
        return self._start_get(uri, version).result()

    def read_range(self, uri: str, start: int, stop: int, *, version: str | None = None) -> bytes:
        """Bytes [start, stop) of an object, fewer at its end."""
        return self._start_get(uri, version, start, stop).result()

    def read_many(self, requests: Iterable[ReadRequest]) -> Iterator[bytes | StorageError]:
        """Whole objects, up to `in_flight` at once, in the order of `requests`."""
        return read_in_order(
            requests,
            lambda request: self._start_get(request.uri, request.version, most_bytes=request.most_bytes),
            most_requests=4 * self._in_flight,
            most_bytes=self._window_bytes,
        )

    def open(self, info: ObjectInfo) -> BinaryIO:
        """A seekable reader of one version of an object that reads ahead; raises ChangedError when it changes."""
        return open_reader(info, lambda start, stop: self._start_get(info.uri, info.version, start, stop))

    def put(
        self,
        uri: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_version: str | None = None,
        scratch: str | None = None,
    ) -> ObjectInfo:
        """One PUT of at most 5 GiB, never multipart: some servers ignore conditions there. `scratch` is not needed.

        A file is in memory while it is put: a request is signed, and may be repeated, as a whole.

        The request's signature covers a SHA-256 of `data`: a server that checks it refuses what was damaged on the way.
        A first attempt may have succeeded although its answer was lost; with `if_absent` the next one then raises
        ExistsError, and the caller compares what is stored with what it wanted to store.
        """
        size_bytes = len(data) if isinstance(data, bytes | bytearray | memoryview) else data.seek(0, os.SEEK_END)
        if size_bytes > MOST_PUT_BYTES:
            raise StorageError(uri, f"{size_bytes:,} bytes, expected at most {MOST_PUT_BYTES:,}: S3's limit of one PUT")
        if not isinstance(data, bytes | bytearray | memoryview):
            data.seek(0)
            data = data.read()
        if if_version is not None:
            return self._put_over(uri, data, if_version)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            return self._put(uri, data, condition)
        except ChangedError as error:
            raise ExistsError(uri, "is there already") from error

    def delete(self, uri: str, *, if_version: str | None = None, scratch: str | None = None) -> None:
        """Removes an object; one that is not there is no error.

        With `if_version` every attempt looks at the object and then sends DELETE If-Match. Amazon's S3 compares;
        servers that do not know the condition (Ceph's gateway, MinIO) delete what is there when the request comes.
        """
        try:
            self._run(uri, partial(_delete, uri, if_version))
        except NotFoundError as error:
            if "NoSuchBucket" in error.message:
                raise

    def close(self) -> None:
        """Closes the connections; the next request opens others."""
        if self._fs._s3 is not None:
            asyncio.run_coroutine_threadsafe(self._fs._s3.close(), self._fs.loop).result()

    def _pages(self, uri: str, bucket: str, prefix: str, page: dict[str, Any]) -> Iterator[ObjectInfo]:
        previous = ""
        while True:
            token = page.get("NextContinuationToken")
            upcoming = self._start_page(uri, bucket, prefix, token) if token else None
            for entry in page.get("Contents", ()):
                key = entry["Key"]
                if key <= previous:
                    raise StorageError(uri, f"is listed out of order: {key!r} after {previous!r}")
                previous = key
                if not (key.endswith("/") and entry["Size"] == 0):
                    yield ObjectInfo(uri=f"s3://{bucket}/{key}", size_bytes=entry["Size"], version=_version(entry))
            if upcoming is None:
                return
            page = upcoming.result()

    def _start_page(self, uri: str, bucket: str, prefix: str, token: str | None) -> Future[dict[str, Any]]:
        paging = {"ContinuationToken": token} if token else {}
        return self._start(
            uri, lambda client: client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE_KEYS, **paging)
        )

    def _start_get(
        self, uri: str, version: str | None, start: int = 0, stop: int | None = None, most_bytes: int | None = None
    ) -> Future[bytes]:
        return self._start(uri, partial(_get, uri, version, start, stop, most_bytes))

    def _put(self, uri: str, data: bytes, condition: dict[str, str]) -> ObjectInfo:
        answer = self._run(uri, partial(_put, uri, data, condition))
        return ObjectInfo(uri=uri, size_bytes=len(data), version=_version(answer))

    def _put_over(self, uri: str, data: bytes, version: str) -> ObjectInfo:
        """PUT If-Match with the ETag in quotes, as the standard has it, and without where that alone is understood.

        Ceph's gateway compares the header's text with the bare ETag, so the quoted form always fails there (412). Only
        when the object still has the version after such an answer is the other form tried; the server still compares.
        """
        try:
            return self._put(uri, data, {"IfMatch": f'"{version}"'})
        except NotFoundError as error:
            raise ChangedError(uri, f"is gone, expected version {version}") from error
        except ChangedError:
            if self._present_version(uri) != version:
                raise
        return self._put(uri, data, {"IfMatch": version})

    def _present_version(self, uri: str) -> str | None:
        try:
            return self.stat(uri).version
        except NotFoundError:
            return None

    def _run(self, uri: str, request: Request[T]) -> T:
        return self._start(uri, request).result()

    def _start(self, uri: str, request: Request[T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(self._with_retries(uri, request), self._fs.loop)

    async def _with_retries(self, uri: str, request: Request[T]) -> T:
        return await self._retry.run(uri, partial(self._attempt, uri, request))

    async def _attempt(self, uri: str, request: Request[T]) -> T:
        """One attempt. It holds a slot while it runs, not while it waits for the next."""
        async with self._slots:
            try:
                return await request(await self._fs.set_session())
            except FAULTS as error:
                raise translate(error, uri, await self._credentials_source()) from error

    async def _credentials_source(self) -> str:
        """Where the credentials came from, in botocore's word; empty where there are none."""
        try:
            credentials = await self._fs.session.get_credentials()
        except FAULTS:
            return ""
        return "" if credentials is None else str(credentials.method)


async def _get(
    uri: str, version: str | None, start: int, stop: int | None, most_bytes: int | None, client: Any
) -> bytes:
    """Bytes [start, stop) of an object. A range that begins at or after the end, which S3 refuses, is empty.

    TooLargeError, without its body, for one of more than `most_bytes`.
    """
    if stop is not None and stop <= start:
        return b""
    bucket, key = bucket_and_key(uri)
    options = {} if version is None else {"IfMatch": f'"{version}"'}
    if stop is not None:
        options["Range"] = f"bytes={start}-{stop - 1}"
    try:
        answer = await client.get_object(Bucket=bucket, Key=key, **options)
    except client.exceptions.ClientError as error:
        if _status(error) == 416:
            return b""
        raise
    async with answer["Body"] as body:
        if most_bytes is not None and answer["ContentLength"] > most_bytes:
            raise TooLargeError(uri, f"{answer['ContentLength']} bytes, more than {most_bytes}")
        data: bytes = await body.read()
    if len(data) != answer["ContentLength"]:
        raise TransientError("body cut short")
    return data


async def _put(uri: str, data: bytes, condition: dict[str, str], client: Any) -> dict[str, Any]:
    """ChangedError where the server has no conditional overwrite: no version is the one that it would replace."""
    bucket, key = bucket_and_key(uri)
    try:
        answer: dict[str, Any] = await client.put_object(Bucket=bucket, Key=key, Body=data, **condition)
    except client.exceptions.ClientError as error:
        if "IfMatch" in condition and _status(error) == 501:
            raise ChangedError(uri, "the server does not overwrite under a condition (501)") from error
        raise
    return answer


async def _delete(uri: str, version: str | None, client: Any) -> None:
    """Deletes an object, or only this version of it; ChangedError when another one is there.

    A server that refuses the condition although the version is the right one is asked with the ETag without quotes, as
    Ceph's gateway writes it, and then without the condition.
    """
    bucket, key = bucket_and_key(uri)
    if version is None:
        await client.delete_object(Bucket=bucket, Key=key)
        return
    for condition in ({"IfMatch": f'"{version}"'}, {"IfMatch": version}, {}):
        found = _version(await client.head_object(Bucket=bucket, Key=key))
        if found != version:
            raise ChangedError(uri, f"changed: version {found}, expected {version}")
        try:
            await client.delete_object(Bucket=bucket, Key=key, **condition)
        except client.exceptions.ClientError as error:
            if not condition or _status(error) not in REFUSED:
                raise
        else:
            return


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _file_system(in_flight: int, connect_timeout_s: float, read_timeout_s: float) -> S3FileSystem:
    """An instance of its own, whose client makes one attempt per request: retries are ours alone.

    Checksums only where S3 requires them: several stores do not know the newer, default ones.
    """
    region = os.environ.get("AWS_REGION")  # botocore itself reads only AWS_DEFAULT_REGION
    return S3FileSystem(
        skip_instance_cache=True,
        use_listings_cache=False,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "connect_timeout": connect_timeout_s,
            "read_timeout": read_timeout_s,
            "max_pool_connections": in_flight,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
    )


def _version(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')
