"""Whole runs of the predict job on S3 while the storage makes trouble: what is committed is right, the rest resumes."""

from __future__ import annotations

import io
import json
import shlex
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.job import Job, digits, write_tar
from tests.object_store.servers import EVERYTHING
from vision_batch.jobs.summary import RunSummary
from vision_batch.ledger.verify import verify
from vision_batch.storage.table import forget_s3

pytestmark = [pytest.mark.ray, pytest.mark.s3]

TARS, IMAGES = 12, 30
"""How many tars, and how many images in each: no two images are the same."""

PART_PUT = r"^PUT .*/out/part-[^/]*\.parquet"


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tars")
    images = digits(TARS * IMAGES)
    for number in range(TARS):
        write_tar(folder / "data" / f"{number:02d}.tar", images[number * IMAGES : (number + 1) * IMAGES])
    return folder


@pytest.fixture(scope="module")
def undisturbed(tars: Path) -> pa.Table:
    """What a run on a local disk, with nothing in its way, makes of the tars."""
    it = Job(tars, {})
    assert it.run(None).status == "done"
    return it.table()


class FireJob:
    """A job from the tars on S3 to an output beside them, through a proxy."""

    def __init__(self, folder: Path, tars: Path, bucket: S3Bucket, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.bucket = bucket
        self.output = f"{bucket.uri}/out"
        self._job = Job(folder, {"input": {"uri": f"{bucket.uri}/data/"}, "output": {"uri": self.output}})
        client = bucket.server.client()
        for path in sorted((tars / "data").iterdir()):
            client.put_object(Bucket=bucket.bucket, Key=f"data/{path.name}", Body=path.read_bytes())
        client.close()

    def run(self, *overrides: str) -> RunSummary:
        return self._job.run(None, *overrides)

    def table(self) -> pa.Table:
        """All rows, read with a client that the proxy does not disturb, in the order of (shard, row)."""
        client = self.bucket.server.client()
        listed = client.list_objects_v2(Bucket=self.bucket.bucket, Prefix="out/part-").get("Contents", [])
        bodies = [client.get_object(Bucket=self.bucket.bucket, Key=entry["Key"])["Body"].read() for entry in listed]
        client.close()
        table = pa.concat_tables([pq.read_table(io.BytesIO(body)) for body in bodies])
        return table.sort_by([("shard", "ascending"), ("row", "ascending")])

    def damage_a_part(self) -> str:
        """Flips one bit in the middle of a stored part; its URI."""
        client, bucket = self.bucket.server.client(), self.bucket.bucket
        key = client.list_objects_v2(Bucket=bucket, Prefix="out/part-")["Contents"][0]["Key"]
        body = bytearray(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        body[len(body) // 2] ^= 1
        client.put_object(Bucket=bucket, Key=key, Body=bytes(body))
        client.close()
        return f"{self.bucket.uri}/{key}"

    def assert_like(self, undisturbed: pa.Table) -> None:
        """Every row once, each prediction that of the undisturbed run."""
        self.proxy.rules = []
        found, scores = self.table(), ["score", "top_scores"]
        assert found.drop_columns(scores).equals(undisturbed.drop_columns(scores))
        assert found["score"].to_pylist() == pytest.approx(undisturbed["score"].to_pylist(), abs=1e-5)
        report = verify(self.output, deep=True)
        assert (report.ok, report.complete) == (True, True), report

    def assert_beginning_of(self, undisturbed: pa.Table, summary: RunSummary) -> None:
        """Some whole shards and no others; nothing that the storage did became a row."""
        shards = self.table()["shard"].unique()
        assert 0 < len(shards) < TARS
        committed = undisturbed.filter(pa.compute.is_in(undisturbed["shard"], shards))
        assert self.table()["image_id"].equals(committed["image_id"])
        assert self.table()["error_code"].null_count == committed.num_rows
        assert (summary.status, summary.failures) == ("incomplete", {})


@pytest.fixture
def fire(rgw_s3: S3Bucket, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FireJob]:
    with through_proxy(rgw_s3, monkeypatch) as proxy:
        yield FireJob(tmp_path, tars, rgw_s3, proxy)


@contextmanager
def through_proxy(bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(bucket.server.address, seed=1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        yield proxy
        forget_s3()


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Does something as soon as `condition` holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_storage_that_stumbles_all_the_time_costs_nothing(fire: FireJob, undisturbed: pa.Table) -> None:
    fire.proxy.rules = [Rule(kind=kind, p=0.05) for kind in ("status", "reset", "cut", "lost")]
    summary = fire.run()
    assert len(fire.proxy.log) >= 5
    assert (summary.status, summary.images_ok, summary.images_failed) == ("done", TARS * IMAGES, 0)
    fire.assert_like(undisturbed)
    part = fire.damage_a_part()
    report = verify(fire.output, deep=True)
    assert not report.ok
    assert any(part in problem for problem in report.problems), report.problems


def test_an_input_that_becomes_unreadable_ends_the_run_incomplete_and_resumable(
    fire: FireJob, undisturbed: pa.Table
) -> None:
    # The first answers are the listings of the plan and some tars.
    fire.proxy.rules = [Rule(kind="status", match=r"^GET .*data(/|%2F)", after=8, status=403, code="AccessDenied")]
    summary = fire.run()
    fire.assert_beginning_of(undisturbed, summary)
    assert "could not be planned again" in summary.warnings[-1]
    assert any(warning.startswith("11.tar: ") and "403 AccessDenied" in warning for warning in summary.warnings)
    fire.proxy.rules = []
    resumed = fire.run()
    assert (resumed.status, resumed.images_resumed) == ("done", summary.images_ok)
    fire.assert_like(undisturbed)


def test_an_output_that_fills_up_ends_the_run_soon_and_resumable(fire: FireJob, undisturbed: pa.Table) -> None:
    fire.proxy.rules = [Rule(kind="status", match=PART_PUT, after=2, status=507, code="InsufficientStorage")]
    summary = fire.run("compute.predictors=1")
    fire.assert_beginning_of(undisturbed, summary)
    assert summary.images_ok == 2 * IMAGES
    assert len(fire.proxy.log) < TARS - 2  # the rest was not computed in vain
    assert all("no space or quota left: free some, then run again" in warning for warning in summary.warnings)
    fire.proxy.rules = []
    assert fire.run().status == "done"
    fire.assert_like(undisturbed)


def test_credentials_that_expire_end_the_run_and_those_that_are_renewed_do_not(
    moto_s3: S3Bucket, tars: Path, undisturbed: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = two_access_keys(moto_s3)
    use_key(monkeypatch, keys[0])
    with through_proxy(moto_s3, monkeypatch) as proxy:
        fire = FireJob(tmp_path, tars, moto_s3, proxy)
        proxy.rules = [Rule(kind="status", match=r"/data/", status=400, code="ExpiredToken", after=5)]
        when(
            lambda: bool(proxy.log), lambda: proxy.rules.insert(0, Rule(kind="status", status=400, code="ExpiredToken"))
        )
        summary = fire.run()
        proxy.rules = []
        fire.assert_beginning_of(undisturbed, summary)
        committed = fire.table().num_rows
        expired = [warning for warning in summary.warnings if "ExpiredToken" in warning]
        assert expired
        assert all("from the environment (AWS_ACCESS_KEY_ID" in warning for warning in expired)

        source = renewed_by_a_process(monkeypatch, tmp_path, keys[0])
        proxy.requests.clear()

        def renew() -> None:
            source(keys[1])
            time.sleep(1)  # requests that were signed before have arrived by then
            delete_access_key(moto_s3, keys[0])

        thread = when(lambda: any("/data/" in request for request in proxy.requests), renew)
        resumed = fire.run()
        thread.join()
        assert (resumed.status, resumed.images_resumed) == ("done", committed)
        fire.assert_like(undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stalls_of_20_s_and_a_minute_of_silence_are_waited_out(fire: FireJob, undisturbed: pa.Table) -> None:
    fire.proxy.rules = [
        Rule(kind="stall", p=0.1, s=20, n=5),
        Rule(kind="pause", match="^GET", p=0.2, s=20, n=5),
    ]

    def fall_silent() -> None:
        silence = Rule(kind="silence")
        fire.proxy.rules = [silence, *fire.proxy.rules]
        time.sleep(65)
        fire.proxy.rules.remove(silence)

    thread = when(lambda: sum("/data/" in request for request in fire.proxy.requests) >= 3, fall_silent)
    started = time.monotonic()
    summary = fire.run()
    thread.join()
    assert fire.proxy.hits()["silence"] > 0
    assert fire.proxy.hits()["stall"] > 0
    assert (summary.status, summary.images_ok, summary.warnings) == ("done", TARS * IMAGES, ())
    assert time.monotonic() - started < 400
    fire.assert_like(undisturbed)


Key = dict[str, str]


def two_access_keys(bucket: S3Bucket) -> tuple[Key, Key]:
    """Of a user of their own, since one of them will be deleted."""
    iam, name = bucket.server.client("iam"), f"user-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="everything", PolicyDocument=EVERYTHING)
    first, second = (iam.create_access_key(UserName=name)["AccessKey"] for _ in range(2))
    iam.close()
    return first, second


def delete_access_key(bucket: S3Bucket, key: Key) -> None:
    iam = bucket.server.client("iam")
    iam.delete_access_key(UserName=key["UserName"], AccessKeyId=key["AccessKeyId"])
    iam.close()


def use_key(monkeypatch: pytest.MonkeyPatch, key: Key) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])


def renewed_by_a_process(monkeypatch: pytest.MonkeyPatch, folder: Path, key: Key) -> Callable[[Key], None]:
    """Credentials from a program that the AWS configuration names; the function changes what the program says."""
    said, configuration = folder / "credentials.json", folder / "aws-config"

    def say(key: Key) -> None:
        soon = datetime.now(UTC) + timedelta(minutes=5)  # botocore renews what is valid for less than 15 minutes
        facts = {"Version": 1, "Expiration": soon.isoformat()}
        complete = folder / "credentials.new"
        complete.write_text(json.dumps(facts | {name: key[name] for name in ("AccessKeyId", "SecretAccessKey")}))
        complete.rename(said)

    say(key)
    configuration.write_text(f"[default]\ncredential_process = cat {shlex.quote(str(said))}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(configuration))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_s3()
    return say
