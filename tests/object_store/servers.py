"""Real S3 servers on loopback for tests: moto in its own process, Ceph's RADOS Gateway where it is installed."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

RGW_SCRIPT = Path(__file__).with_name("rgw.sh")
RGW_PROGRAMS = {"radosgw": "radosgw", "ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd"}
RGW_PORTS = 1101
REGION = "us-east-1"
EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
"""A policy of moto's users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server: where it is and who may use it."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for a proxy in front of it."""
        parts = urlsplit(self.endpoint)
        return str(parts.hostname), int(parts.port or 80)

    def environment(self) -> dict[str, str]:
        """The variables with which every S3 client finds this server, and no other."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            # for other clients than ours: pyarrow, DuckDB, boto3 would send checksums that the gateway does not know
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def client(self, service: str = "s3") -> Any:
        """A plain boto3 client: what tests arrange and inspect with, independent of the code under test."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
        )

    def new_bucket(self) -> str:
        """Creates a bucket; its name."""
        name = f"test-{uuid.uuid4().hex[:16]}"
        _arranger(self).create_bucket(Bucket=name)
        return name


@contextmanager
def moto_server(*, unchecked: int = 3) -> Iterator[S3Server]:
    """moto, which checks signatures after the three requests that make a user with all rights, or after more."""
    port = free_port()
    environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(unchecked)}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(port, process)
            server = _with_user(f"http://127.0.0.1:{port}")
            yield server
            _arranger(server).close()
        finally:
            process.kill()
            process.wait()


def missing_rgw_packages() -> list[str]:
    """Debian packages that the gateway needs and that are not installed."""
    return [package for program, package in RGW_PROGRAMS.items() if shutil.which(program) is None]


@contextmanager
def rgw_server(address: str = "127.0.0.1") -> Iterator[S3Server]:
    """Ceph's RADOS Gateway with its data in memory, at an address of this machine; the packages must be installed."""
    folder, port = _start_gateway(address)
    try:
        endpoint = f"http://{address}:{port}"
        server = S3Server(name="rgw", endpoint=endpoint, access_key="TESTKEY", secret_key="TESTSECRET")
        yield server
        _arranger(server).close()
    finally:
        subprocess.run([RGW_SCRIPT, "down", folder], check=True, timeout=60)


def _start_gateway(address: str) -> tuple[str, int]:
    """Its folder and port. A busy machine's monitor was seen to refuse its first command (EPERM): three attempts."""
    for attempts_left in (2, 1, 0):
        folder = tempfile.mkdtemp(prefix="rgw-", dir="/tmp")  # short: names of sockets are limited
        port = _free_block(RGW_PORTS)
        try:
            command = [RGW_SCRIPT, "up", folder, str(port), address]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        except subprocess.SubprocessError:
            subprocess.run([RGW_SCRIPT, "down", folder], check=True, timeout=60)
            if not attempts_left:
                raise
        else:
            return folder, port
    raise AssertionError("the last attempt returns or raises")


@cache
def _arranger(server: S3Server) -> Any:
    """One client for all of a server's buckets: making a client costs more than a bucket."""
    return server.client()


def free_port() -> int:
    """A TCP port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free_block(size: int) -> int:
    """The first of `size` ports, of which the first and the last hundred are free, below those given out to clients."""
    for _ in range(100):
        port = random.randrange(12_000, 32_000 - size)
        if all(map(_is_free, [port, *range(port + size - 101, port + size)])):
            return port
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"moto did not start (exit status {process.poll()})")


def _with_user(endpoint: str) -> S3Server:
    anyone = S3Server(name="moto", endpoint=endpoint, access_key="anyone", secret_key="anyone")
    iam = anyone.client("iam")
    iam.create_user(UserName="test")
    iam.put_user_policy(UserName="test", PolicyName="everything", PolicyDocument=EVERYTHING)
    key = iam.create_access_key(UserName="test")["AccessKey"]
    iam.close()
    return S3Server(name="moto", endpoint=endpoint, access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"])
