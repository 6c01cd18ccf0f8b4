"""Where the data and the output of the chaos test lie, reached without the code under test."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tests.object_store.servers import S3Server


class Place(Protocol):
    """Objects below a folder or a bucket, by their names relative to it."""

    def uri(self, name: str) -> str:
        """What a spec says for it."""

    def put(self, name: str, data: bytes) -> None:
        """Writes an object in one step."""

    def delete(self, name: str) -> None:
        """Removes an object."""

    def parts(self) -> Mapping[str, str]:
        """The Parquet files of `out`, as any reader of OUTPUT/*.parquet finds them, and what tells their versions."""

    def read(self, name: str) -> bytes:
        """FileNotFoundError when it is not there."""


class LocalPlace:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def uri(self, name: str) -> str:
        return str(self._folder / name)

    def put(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / "being-written"
        temporary.write_bytes(data)
        os.replace(temporary, path)

    def delete(self, name: str) -> None:
        (self._folder / name).unlink()

    def parts(self) -> dict[str, str]:
        found = {}
        for path in (self._folder / "out").glob("*.parquet"):
            status = path.stat()
            found[f"out/{path.name}"] = f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"
        return found

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()


class S3Place:
    """A bucket, asked past any proxy; `output` is where in it the parts are looked for."""

    def __init__(self, server: S3Server) -> None:
        self.output = "out"
        self._client = server.client()
        self._bucket = server.new_bucket()

    def uri(self, name: str) -> str:
        return f"s3://{self._bucket}/{name}"

    def put(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=name, Body=data)

    def delete(self, name: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=name)

    def parts(self) -> dict[str, str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self.output}/part"
        )
        return {
            entry["Key"]: f"{entry['ETag']} {entry['LastModified']}"
            for page in pages
            for entry in page.get("Contents", ())
            if entry["Key"].endswith(".parquet")
        }

    def read(self, name: str) -> bytes:
        try:
            data: bytes = self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()
        except self._client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(name) from error
        return data
