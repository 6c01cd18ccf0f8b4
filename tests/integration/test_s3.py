"""The predict job from S3 to S3, on moto and on Ceph's gateway, also when the storage makes trouble."""

from __future__ import annotations

import io
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.job import Job, digits, write_parquet, write_tar
from vision_batch.errors import SpecError
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


@pytest.mark.parametrize("s3", ["rgw", pytest.param("moto", marks=pytest.mark.slow)], indirect=True)
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


def test_a_parquet_that_names_its_images(job: MakeJob, rgw_s3: S3Bucket) -> None:
    it = job(input={"uri": f"{rgw_s3.uri}/data/", "format": "parquet"}, output={"uri": f"{rgw_s3.uri}/out"})
    images = digits(4)
    for number, content in enumerate(images[:3]):
        upload(rgw_s3, f"data/lists/images/ü {number}+#.jpg", content)
    elsewhere = f"s3://{rgw_s3.server.new_bucket()}/a.jpg"
    storage_for(elsewhere).put(elsewhere, images[3])
    absolute = f"{rgw_s3.uri}/data/lists/images/ü 2+#.jpg"
    names = ["images/ü 0+#.jpg", "../lists/images/ü 1+#.jpg", absolute, "images/none.jpg", elsewhere, "../../out/a.jpg"]
    write_parquet(it.folder / "list.parquet", names)
    upload(rgw_s3, "data/lists/a.parquet", (it.folder / "list.parquet").read_bytes())
    summary = it.run(None)
    assert (summary.status, summary.images_ok) == ("done", 3)
    storage = storage_for(rgw_s3.uri)
    (part,) = (info.uri for info in storage.list(f"{rgw_s3.uri}/out") if info.uri.endswith(".parquet"))
    table = pq.read_table(io.BytesIO(storage.read(part)))
    assert table["error_code"].to_pylist() == [None, None, None, "missing", "forbidden", "forbidden"]
    assert len(set(table["score"].to_pylist()[:3])) == 3


@pytest.mark.parametrize("what", ["", "plan/", "runs/"])
def test_a_ledger_that_may_not_be_written_is_refused_before_anything_starts(
    job: MakeJob, rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    it = job(input={"uri": f"{rgw_s3.uri}/data/"}, output={"uri": f"{rgw_s3.uri}/out"})
    upload_tars(rgw_s3, it, 1)
    with FaultProxy(rgw_s3.server.address) as proxy:
        proxy.rules = [Rule(kind="status", match=f"^PUT .*/_ledger/{what}", status=403, code="AccessDenied")]
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        with pytest.raises(SpecError, match=r"^output\.uri: .*403 AccessDenied"):
            it.run(None)
