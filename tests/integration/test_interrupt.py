"""Ctrl-C while the storage is slow: what is whole is committed, and nothing new is begun."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.job import Job, digits, write_tar

TARS = 16
SLOW_S = 6
"""A PUT takes longer than Ray gives the actors of a pass that is given up, and than this test waits before Ctrl-C."""


def parts_put(proxy: FaultProxy) -> set[str]:
    return set(re.findall(r"PUT /\S*/(part-\S+) ", "\n".join(proxy.requests)))


def tars_opened(proxy: FaultProxy) -> set[str]:
    return set(re.findall(r"GET /\S*/(\d+\.tar)", "\n".join(proxy.requests)))


@pytest.mark.slow  # the same with SIGTERM, in a submitted job, is in test_submit.py
@pytest.mark.ray
@pytest.mark.s3
def test_whole_cells_reach_a_slow_storage_and_no_shard_is_begun(
    job: Callable[..., Job], moto_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = job(input={"uri": f"{moto_s3.uri}/data/"}, output={"uri": f"{moto_s3.uri}/out"})
    for number in range(TARS):
        write_tar(it.folder / "a.tar", digits(10))
        moto_s3.server.client().upload_file(str(it.folder / "a.tar"), moto_s3.bucket, f"data/{number:02d}.tar")
    with FaultProxy(moto_s3.server.address) as proxy:
        proxy.rules = [Rule(match="^PUT .*/part-", kind="delay", s=SLOW_S)]
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with subprocess.Popen(
            [sys.executable, "-m", "vision_batch", "run", str(it.spec)],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        ) as process:
            deadline = time.monotonic() + 90
            while not parts_put(proxy):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(1)
            whole, opened = parts_put(proxy), tars_opened(proxy)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            start = time.monotonic()
            assert process.wait(60) == 130
            assert time.monotonic() - start < 20
    stored = moto_s3.server.client().list_objects_v2(Bucket=moto_s3.bucket, Prefix="out/")["Contents"]
    names = {entry["Key"].removeprefix("out/") for entry in stored}
    assert names >= whole
    assert len(opened) < TARS
    assert tars_opened(proxy) == opened
    assert "_ledger/definition.json" in names
    assert "_ledger/lease" not in names
