"""S3 through a proxy that breaks things: what passes is retried, what does not is said in time."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from vision_batch.errors import ChangedError, ExistsError, ForbiddenError, NotFoundError, UnavailableError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.retry import Retry
from vision_batch.storage.s3 import S3Storage
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.uri import join

pytestmark = pytest.mark.s3

PATIENT = Retry(attempts=40, first_s=0.001, longest_s=0.02)
IMPATIENT = Retry(attempts=5, first_s=0.01, longest_s=0.05)


@pytest.fixture
def proxy(rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(rgw_s3.server.address, seed=7) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture
def patient(proxy: FaultProxy) -> Iterator[S3Storage]:
    storage = S3Storage(retry=PATIENT)
    yield storage
    storage.close()


@pytest.fixture
def impatient(proxy: FaultProxy) -> Iterator[S3Storage]:
    storage = S3Storage(retry=IMPATIENT, connect_timeout_s=1, read_timeout_s=0.4)
    yield storage
    storage.close()


def fill(storage: S3Storage, root: str, count: int) -> dict[ObjectInfo, bytes]:
    bodies = [random.Random(number).randbytes(2000 + number) for number in range(count)]
    return {storage.put(join(root, f"{number:04d}"), body): body for number, body in enumerate(bodies)}


@pytest.mark.parametrize(
    "rules",
    [
        [Rule(kind="status", p=0.2)],
        [Rule(kind="status", status=500, code="InternalError", p=0.2)],
        [Rule(kind="reset", p=0.2)],
        [Rule(kind="cut", match="^GET", p=0.2)],
        [Rule(kind="status", p=0.2), Rule(kind="reset", p=0.2), Rule(kind="cut", match="^GET", p=0.2)],
    ],
    ids=["503", "500", "reset", "cut", "all"],
)
def test_faults_that_pass_are_not_seen(
    proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket, rules: list[Rule]
) -> None:
    stored = fill(patient, rgw_s3.uri, 60)
    proxy.rules = rules
    assert list(patient.list(rgw_s3.uri)) == list(stored)
    requests = [ReadRequest(uri=info.uri, version=info.version) for info in stored]
    assert list(patient.read_many(requests)) == list(stored.values())
    for info, body in list(stored.items())[:10]:
        assert patient.stat(info.uri) == info
        assert patient.read_range(info.uri, 5, 1500, version=info.version) == body[5:1500]
        patient.put(join(rgw_s3.uri, "new"), body)
    assert set(proxy.hits()) == {rule.kind for rule in rules}


def test_a_stream_survives_cut_bodies(proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket) -> None:
    data = random.Random(0).randbytes(30 << 20)
    info = patient.put(join(rgw_s3.uri, "shard.tar"), data)
    proxy.rules = [Rule(kind="cut", match="^GET", p=0.3, at=0.7)]
    with patient.open(info) as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == data
    assert proxy.hits()["cut"] > 0


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule(kind="status"), r"503 SlowDown \(5 times\)"),
        (Rule(kind="reset"), r"\(5 times\)"),
        (Rule(kind="cut", match="^GET"), r"\(5 times\)"),
        (Rule(kind="stall", s=3), r"[Tt]ime-?out\w* \(5 times\)"),
        (Rule(kind="pause", s=3), r"[Tt]ime-?out\w* \(5 times\)"),
    ],
    ids=["503", "reset", "cut", "stalled head", "stalled body"],
)
def test_what_does_not_pass_is_unavailable_in_bounded_time(
    proxy: FaultProxy, impatient: S3Storage, rgw_s3: S3Bucket, rule: Rule, reason: str
) -> None:
    info = impatient.put(join(rgw_s3.uri, "x"), b"data" * 100)
    proxy.rules, before = [rule], len(proxy.requests)
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=rf"gave up after 5 attempts: .*{reason}"):
        impatient.read(info.uri)
    assert time.monotonic() - started < 5
    # No other layer retries, except that aiohttp asks once more on a new connection when one breaks before an answer.
    assert len(proxy.requests) - before == (10 if rule.kind == "reset" else 5)


def test_a_server_that_is_not_there_is_unavailable(rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    storage = S3Storage(retry=IMPATIENT)
    with pytest.raises(UnavailableError, match="EndpointConnectionError"):
        storage.list(rgw_s3.uri)
    storage.close()


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(kind="status", status=403, code="AccessDenied"), ForbiddenError),
        (Rule(kind="status", status=403, code="SignatureDoesNotMatch"), ForbiddenError),
        (Rule(kind="status", status=400, code="ExpiredToken"), ForbiddenError),
        (Rule(kind="status", status=401, code="Unauthorized"), ForbiddenError),
        (Rule(kind="status", status=404, code="NoSuchKey"), NotFoundError),
        (Rule(kind="status", status=412, code="PreconditionFailed"), ChangedError),
    ],
    ids=lambda value: value.code if isinstance(value, Rule) else "",
)
def test_answers_that_will_not_change_are_not_asked_for_again(
    proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket, rule: Rule, error: type[Exception]
) -> None:
    proxy.rules = [rule]
    with pytest.raises(error, match=rule.code):
        patient.read(join(rgw_s3.uri, "x"))
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_credentials_that_are_not_valid_say_where_they_come_from(
    proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket, code: str
) -> None:
    proxy.rules = [Rule(kind="status", status=400 if code == "ExpiredToken" else 403, code=code)]
    with pytest.raises(ForbiddenError, match=rf"{code}.*from the environment \(AWS_ACCESS_KEY_ID.*renew.*run again"):
        patient.read(join(rgw_s3.uri, "x"))


@pytest.mark.parametrize(("status", "code"), [(507, "InsufficientStorage"), (403, "QuotaExceeded")])
def test_a_full_bucket_is_said_at_once(
    proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket, status: int, code: str
) -> None:
    proxy.rules = [Rule(kind="status", match="^PUT", status=status, code=code)]
    with pytest.raises(UnavailableError, match=rf"{code}.*no space or quota left.*run again to resume"):
        patient.put(join(rgw_s3.uri, "x"), b"data")
    assert len(proxy.requests) == 1


READ_ROUNDS = """
import gc, sys
from vision_batch.storage.retry import Retry
from vision_batch.storage.s3 import S3Storage
from vision_batch.storage.storage import ReadRequest

storage = S3Storage(retry=Retry(first_s=0.001, longest_s=0.02))
for _ in range(int(sys.argv[2])):
    for body in storage.read_many(ReadRequest(uri=sys.argv[1], size_bytes=512 << 10) for _ in range(50)):
        assert len(body) == 512 << 10
    del body
    gc.collect()
    with open("/proc/self/statm") as file:
        print(int(file.read().split()[1]) * 4096, flush=True)
"""
"""A process of its own, so that nothing else is in its memory; prints its resident bytes after every round."""


@pytest.mark.slow
def test_bodies_cut_a_thousand_times_leave_nothing_in_memory(
    proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket
) -> None:
    info = patient.put(join(rgw_s3.uri, "x"), bytes(512 << 10))
    proxy.rules = [Rule(kind="cut", match="^GET", p=0.8)]
    command = [sys.executable, "-c", READ_ROUNDS, info.uri, "7"]
    resident = [int(line) for line in subprocess.run(command, check=True, capture_output=True).stdout.split()]
    assert proxy.hits()["cut"] > 1000
    assert resident[-1] - resident[1] < 24 << 20  # 1,000 halves of a body would be 250 MiB


@pytest.mark.parametrize("code", ["SlowDown", "ConditionalRequestConflict", "RequestTimeout"])
def test_some_refusals_mean_try_again(proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket, code: str) -> None:
    proxy.rules = [Rule(kind="status", status=409 if "Conflict" in code else 400, code=code, n=2)]
    uri = join(rgw_s3.uri, "x")
    patient.put(uri, b"data", if_absent=True)
    assert patient.read(uri) == b"data"
    assert proxy.hits()["status"] == 2


def test_a_lost_answer_to_a_put_is_an_object_that_is_there(
    proxy: FaultProxy, impatient: S3Storage, rgw_s3: S3Bucket
) -> None:
    for kind in ("stall", "lost"):
        proxy.rules = [Rule(kind=kind, match="^PUT", s=1, n=1)]
        uri = join(rgw_s3.uri, f"part-{kind}")
        with pytest.raises(ExistsError):
            impatient.put(uri, b"mine", if_absent=True)
        assert impatient.read(uri) == b"mine"


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (412, "PreconditionFailed")])
def test_a_server_that_deletes_under_no_condition_deletes_what_was_just_looked_at(
    proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket, status: int, code: str
) -> None:
    proxy.rules = [Rule(kind="status", match="^DELETE", header="^if-match:", status=status, code=code)]
    info = patient.put(join(rgw_s3.uri, "x"), b"old")
    patient.delete(info.uri, if_version=info.version)
    with pytest.raises(NotFoundError):
        patient.stat(info.uri)
    assert proxy.hits()["status"] == 2


def test_a_lost_answer_to_a_deletion_is_no_failure(proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket) -> None:
    info = patient.put(join(rgw_s3.uri, "x"), b"old")
    proxy.rules = [Rule(kind="lost", match="^DELETE", n=1)]
    patient.delete(info.uri, if_version=info.version)
    assert list(patient.list(rgw_s3.uri)) == []


def test_a_body_damaged_on_its_way_to_the_server_is_refused_and_sent_again(
    proxy: FaultProxy, patient: S3Storage, rgw_s3: S3Bucket
) -> None:
    data = random.Random(0).randbytes(3 << 20)  # large enough for Expect: 100-continue
    for at in (0, 0.5, 0.9999):
        proxy.rules = [Rule(kind="mangle", match="^PUT", at=at, n=2)]
        uri = join(rgw_s3.uri, f"part-{at}")
        patient.put(uri, data, if_absent=True)
        assert patient.read(uri) == data
    assert proxy.hits()["mangle"] == 6


def test_a_server_that_falls_silent_is_asked_until_it_answers(proxy: FaultProxy, rgw_s3: S3Bucket) -> None:
    """The proportions of the defaults, fifty times as fast: time-outs of 60 s, two minutes of patience."""
    storage = S3Storage(retry=Retry(first_s=0.004, longest_s=0.4, total_s=2.4), read_timeout_s=1.2)
    stored = fill(storage, rgw_s3.uri, 300)
    proxy.rules = [Rule(kind="silence")]
    requests = [ReadRequest(uri=info.uri, version=info.version, size_bytes=info.size_bytes) for info in stored]
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(lambda: list(storage.read_many(requests)))
        while proxy.hits()["silence"] < 256 and not read.done():
            time.sleep(0.02)
        time.sleep(0.2)
        proxy.rules.clear()
        assert read.result() == list(stored.values())
    assert proxy.hits()["silence"] >= 256
    proxy.rules = [Rule(kind="status")]
    threading.Timer(1.4, proxy.rules.clear).start()
    assert list(storage.read_many(requests)) == list(stored.values())
    storage.close()


def test_one_bad_object_does_not_hold_up_the_others(proxy: FaultProxy, impatient: S3Storage, rgw_s3: S3Bucket) -> None:
    stored = fill(impatient, rgw_s3.uri, 30)
    proxy.rules = [Rule(kind="status", match="/0003 ")]
    bodies = list(impatient.read_many(ReadRequest(uri=info.uri) for info in stored))
    assert isinstance(bodies.pop(3), UnavailableError)
    assert bodies == [body for number, body in enumerate(stored.values()) if number != 3]
