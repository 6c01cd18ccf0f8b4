"""A resume costs what is missing: counted at the server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy
from tests.integration.job import Job, digits, write_parquet
from tests.jobs.finished import complete

SHARDS, DONE = 20, 19


@pytest.mark.ray
@pytest.mark.s3
def test_a_resume_opens_only_shards_that_are_not_complete(
    job: Callable[..., Job], moto_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = job(input={"uri": f"{moto_s3.uri}/data/"}, output={"uri": f"{moto_s3.uri}/out"})
    write_parquet(it.folder / "a.parquet", digits(10))
    for number in range(SHARDS):
        moto_s3.server.client().upload_file(str(it.folder / "a.parquet"), moto_s3.bucket, f"data/{number:02d}.parquet")
    complete(it, shards=DONE)
    with FaultProxy(moto_s3.server.address) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        command = [sys.executable, "-m", "vision_batch", "run", str(it.spec), "--json", "-o", "compute.batch_size=3"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        resumed = list(proxy.requests)
        proxy.requests.clear()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["images_ok"], summary["images_resumed"]) == (10 * SHARDS, 10 * DONE)
    assert opened(resumed, r"data/(\w+)\.parquet") == {f"{DONE:02d}"}
    assert opened(proxy.requests, r"data/(\w+)\.parquet") == set()
    assert opened(proxy.requests, r"out/(part-\S+)") == set(), "the manifest knows them"
    assert len(proxy.requests) < 30


def opened(requests: list[str], name: str) -> set[str]:
    """What of objects of this name was asked for itself, not only listed."""
    return set(re.findall(rf"(?:GET|HEAD) /\S+/{name}", "\n".join(requests)))
