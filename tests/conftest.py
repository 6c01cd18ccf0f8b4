"""Fixtures that several folders use: S3 servers, each test with a bucket of its own; and no law fails for slowness."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

from tests.object_store.servers import S3Server, missing_rgw_packages, moto_server, rgw_server
from vision_batch.storage.table import forget_s3

# how long an example takes says what else the machine does
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Bucket:
    """A fresh bucket; while the test runs the environment leads every S3 client to its server."""

    server: S3Server
    bucket: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}"


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def rgw() -> Iterator[S3Server]:
    if missing := missing_rgw_packages():
        reason = f"Ceph's gateway is not installed: apt-get install --no-install-recommends {' '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with rgw_server() as server:
        yield server


@pytest.fixture
def moto_s3(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """A bucket on moto."""
    yield from bucket_on(moto, monkeypatch)


@pytest.fixture
def rgw_s3(rgw: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """A bucket on Ceph's gateway; the test is skipped where that is not installed, and fails there under CI."""
    yield from bucket_on(rgw, monkeypatch)


@pytest.fixture(params=["moto", "rgw"])
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """A bucket, once on each kind of server."""
    yield from bucket_on(request.getfixturevalue(request.param), monkeypatch)


def bucket_on(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """A bucket on any server; for fixtures."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    forget_s3()  # the storage of a test before knows another server
    yield S3Bucket(server=server, bucket=server.new_bucket())
    forget_s3()
