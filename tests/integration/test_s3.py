"""The predict job from S3 to S3, on moto and on Ceph's gateway, also when the storage makes trouble."""

from __future__ import annotations

import io
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.job import Job, digits, write_tar
from vision_batch.ledger.verify import verify
from vision_batch.storage.table import forget_s3, storage_for

pytestmark = [pytest.mark.ray, pytest.mark.s3]

MakeJob = Callable[..., Job]


def rows(uri: str) -> int:
    storage = storage_for(uri)
    parts = [info for info in storage.list(uri) if "/_ledger/" not in info.uri]
    return sum(pq.read_metadata(io.BytesIO(storage.read(info.uri))).num_rows for info in parts)


def upload(bucket: S3Bucket, name: str, content: bytes) -> None:
    storage_for(bucket.uri).put(f"{bucket.uri}/{name}", content)


def upload_tars(bucket: S3Bucket, job: Job, count: int) -> None:
    for number in range(count):
        write_tar(job.folder / "tars" / f"{number}.tar", digits(50))
        upload(bucket, f"data/{number}.tar", (job.folder / "tars" / f"{number}.tar").read_bytes())


def test_folder_and_tars_to_parts_and_back_to_nothing_to_do(job: MakeJob, s3: S3Bucket) -> None:
    it = job(input={"uri": f"{s3.uri}/images/"}, output={"uri": f"{s3.uri}/out"})
    for number, content in enumerate(digits(70)):
        upload(s3, f"images/sub folder/ü {number}+#.jpg", content)
    upload(s3, "images/empty.png", b"")
    first = it.run(None)
    assert (first.status, first.images_ok, first.failures) == ("done", 70, {"empty": 1})
    assert rows(f"{s3.uri}/out") == 71
    second = it.run(None)
    assert (second.images_resumed, second.first_batch_seconds) == (71, None)
    assert verify(f"{s3.uri}/out", deep=True).ok


def test_a_storage_that_stumbles_costs_nothing(job: MakeJob, rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    it = job(input={"uri": f"{rgw_s3.uri}/data/"}, output={"uri": f"{rgw_s3.uri}/out"})
    upload_tars(rgw_s3, it, 4)
    with FaultProxy(rgw_s3.server.address, seed=1) as proxy:
        proxy.rules = [Rule(kind=kind, p=0.1) for kind in ("status", "reset", "cut")]
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        summary = it.run(None)
        assert proxy.log
    assert (summary.status, summary.images_ok, summary.images_failed) == ("done", 200, 0)


def test_a_shard_without_permission_leaves_the_run_incomplete_and_resumable(
    job: MakeJob, rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = job(input={"uri": f"{rgw_s3.uri}/data/"}, output={"uri": f"{rgw_s3.uri}/out"})
    upload_tars(rgw_s3, it, 3)
    with FaultProxy(rgw_s3.server.address) as proxy:
        proxy.rules = [Rule(kind="status", match=r"^GET .*/data/1\.tar", status=403, code="AccessDenied")]
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        summary = it.run(None)
        assert (summary.status, summary.images_ok, summary.shards_done) == ("incomplete", 100, 2)
        assert any("1.tar" in warning for warning in summary.warnings)
        proxy.rules = []
        resumed = it.run(None)
    assert (resumed.status, resumed.images_ok, resumed.images_resumed) == ("done", 150, 100)
