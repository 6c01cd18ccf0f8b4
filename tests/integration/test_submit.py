"""The spec that ran on a laptop is submitted to a Ray cluster, watched and stopped, with the same exactness."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.conftest import SubmitCluster
from tests.integration.job import MODEL, Job, digits, write_tar
from tests.integration.leftovers import files
from tests.integration.ray_head import another_node, running_head
from vision_batch.cli.main import main

pytestmark = [pytest.mark.ray, pytest.mark.s3]

SLOW_S = 5
"""How late a part arrives: later than Ray's own patience with a job that is to stop."""
WITNESS = """
import pathlib, vision_batch
pathlib.Path({file!r}).write_text(vision_batch.__file__)
"""

Capture = pytest.CaptureFixture[str]


@dataclass
class Client:
    """`vision-batch` as typed beside a cluster's profile, with `--json`."""

    capsys: Capture
    cluster: str

    def __call__(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The exit code and the object on standard output."""
        code = main([*arguments, "--cluster", self.cluster, "--json"])
        out, err = self.capsys.readouterr()
        sys.stderr.write(err)  # shown where the test fails
        return code, json.loads(out.splitlines()[-1])


@pytest.fixture
def client(
    submit_cluster: SubmitCluster, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """Reaches the dashboard through a proxy that loses the answer to the first submission."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", submit_cluster.head.token)
    with FaultProxy(("127.0.0.1", submit_cluster.head.port)) as proxy:
        proxy.rules = [Rule(match="^POST /api/jobs/ ?", kind="lost", n=1)]
        (tmp_path / "cluster.yaml").write_text(f"kind: ray\naddress: {proxy.endpoint}\n")
        yield Client(capsys, str(tmp_path / "cluster.yaml"))


def s3_job(job: Callable[..., Job], s3: S3Bucket, tars: list[list[bytes]], **settings: Any) -> Job:
    """A job from and to the bucket, with `tars` of images."""
    it = job(input={"uri": f"{s3.uri}/in/*.tar"}, output={"uri": f"{s3.uri}/out"}, **settings)
    for number, images in enumerate(tars):
        write_tar(it.folder / "a.tar", images)
        s3.server.client().upload_file(str(it.folder / "a.tar"), s3.bucket, f"in/{number}.tar")
    return it


def rows(s3: S3Bucket) -> list[dict[str, Any]]:
    """What any reader of OUTPUT/*.parquet finds."""
    listing = s3.server.client().list_objects_v2(Bucket=s3.bucket, Prefix="out/part-")
    files = pyarrow.fs.S3FileSystem(
        access_key=s3.server.access_key, secret_key=s3.server.secret_key, endpoint_override=s3.server.endpoint
    )
    names = [f"{s3.bucket}/{entry['Key']}" for entry in listing.get("Contents", ())]
    return [row for name in names for row in pq.read_table(name, filesystem=files).to_pylist()]


def parts_put(storage: FaultProxy, s3: S3Bucket) -> set[str]:
    """The parts that somebody began to write."""
    lines = [line.split()[1] for line in storage.requests if line.startswith(f"PUT /{s3.bucket}/out/part-")]
    return {path.rpartition("/")[2].partition("?")[0] for path in lines}


def tars_opened(storage: FaultProxy, s3: S3Bucket) -> set[str]:
    """The shards that somebody began to read."""
    return {line.split()[1] for line in storage.requests if line.startswith(f"GET /{s3.bucket}/in/")}


def wait_for_parts(storage: FaultProxy, s3: S3Bucket) -> set[str]:
    deadline = time.monotonic() + 90
    while not parts_put(storage, s3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # for those that are on their way
    return parts_put(storage, s3)


def test_a_job_is_submitted_once_stopped_in_order_resumed_and_watched(
    client: Client, submit_cluster: SubmitCluster, job: Callable[..., Job], moto_s3: S3Bucket, tmp_path: Path
) -> None:
    """One story, for every run costs seconds."""
    witness = tmp_path / "where"
    tars = [digits(10) for _ in range(7)] + [[*digits(9), b"no picture"]]
    code = MODEL + WITNESS.format(file=str(witness))
    it = s3_job(job, moto_s3, tars, code=code, name="story", limits={"max_error_fraction": 0.0})
    storage = submit_cluster.storage
    storage.rules = [Rule(match=f"^PUT /{moto_s3.bucket}/out/part-", kind="delay", s=SLOW_S)]

    # The answer to the submission is lost, and there is one job all the same.
    _, begun = client("submit", str(it.spec))
    assert [each["job_id"] for each in client("list")[1]["jobs"]] == [begun["job_id"]]

    # Stopped while parts are on their way: they arrive, though that takes longer than Ray's own patience.
    whole, asked = wait_for_parts(storage, moto_s3), time.monotonic()
    opened = tars_opened(storage, moto_s3)
    assert client("status", begun["job_id"])[1]["state"] == "running"
    exit_code, stopped = client("stop", begun["job_id"])
    assert (exit_code, stopped["state"]) == (0, "stopped")
    assert 3 < time.monotonic() - asked < 20
    stored = moto_s3.server.client().list_objects_v2(Bucket=moto_s3.bucket, Prefix="out/")["Contents"]
    names = {entry["Key"].removeprefix("out/") for entry in stored}
    assert names >= whole
    assert tars_opened(storage, moto_s3) == opened, "and no shard was begun any more"
    assert len(opened) < len(tars)
    assert "_ledger/lease" not in names
    committed = len(rows(moto_s3))
    assert 0 < committed < 80

    # Submitted again: it does the rest, and says how it ended.
    storage.rules = []
    exit_code, ended = client("submit", str(it.spec), "--wait")
    assert exit_code == 3
    assert (ended["state"], ended["exit_code"]) == ("failed", 3)
    assert ended["message"].startswith("every image has its row, but more failed")
    found = rows(moto_s3)
    assert len({(row["shard"], row["row"]) for row in found}) == len(found) == 80
    assert [row["error_code"] for row in found if row["error_code"]] == ["unreadable"]
    _, status = client("status", ended["job_id"])
    assert status["progress"]["images_done"] == status["progress"]["images_total"] == 80
    lines = client("logs", ended["job_id"])[1]["lines"]
    summary = next(json.loads(line) for line in lines if line.startswith('{"run_id"'))
    assert summary["images_resumed"] == committed

    # What ran was what had been brought along, and no secret was.
    details = submit_cluster.head.get(f"/api/jobs/{ended['job_id']}").json()
    archive = details["runtime_env"]["working_dir"].removeprefix("gcs://").removesuffix(".zip")
    assert witness.read_text().endswith(f"/{archive}/vision_batch/__init__.py")
    told = {
        path: submit_cluster.head.get(path).content for path in ("/api/jobs/", "/api/v0/actors", "/api/v0/runtime_envs")
    }
    told |= {"the job's log": "\n".join(lines).encode(), **dict(files(submit_cluster.head.folder))}
    assert ended["job_id"].encode() in told["/api/jobs/"]
    assert any(name.endswith("raylet.out") for name in told)
    secrets = [secret.encode() for secret in (submit_cluster.head.token, moto_s3.server.secret_key)]
    assert not [name for name, content in told.items() if any(secret in content for secret in secrets)]


@pytest.mark.slow
def test_drivers_do_not_crowd_the_head(
    job: Callable[..., Job], moto_s3: S3Bucket, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = s3_job(job, moto_s3, [digits(10)])
    with running_head(moto_s3.server.environment(), cpus=0) as head, another_node(head):
        monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
        (tmp_path / "cluster.yaml").write_text(f"kind: ray\naddress: http://127.0.0.1:{head.port}\n")
        code, ended = Client(capsys, str(tmp_path / "cluster.yaml"))("submit", str(it.spec), "--wait")
        assert code == 0
        place = head.get(f"/api/jobs/{ended['job_id']}").json()["driver_node_id"]
        assert head.nodes()[place] is False, "not the head"
    assert len(rows(moto_s3)) == 10


@pytest.mark.slow
def test_a_cluster_without_a_token_is_used_only_where_the_profile_says_so(
    job: Callable[..., Job], moto_s3: S3Bucket, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ours")
    it = s3_job(job, moto_s3, [digits(10)])
    profile = tmp_path / "cluster.yaml"
    client = Client(capsys, str(profile))
    with running_head(moto_s3.server.environment(), auth="disabled") as head:
        profile.write_text(f"kind: ray\naddress: http://127.0.0.1:{head.port}\n")
        code, failure = client("submit", str(it.spec), "--wait")
        assert code == 1
        assert "lets anybody in" in failure["error"]
        profile.write_text(f"{profile.read_text()}auth: none\n")
        assert client("submit", str(it.spec), "--wait")[0] == 0
    assert len(rows(moto_s3)) == 10


@pytest.mark.parametrize(
    ("token", "code", "said"),
    [("wrong", 1, "does not accept the token in RAY_AUTH_TOKEN"), ("", 2, "RAY_AUTH_TOKEN: found no token")],
)
def test_nobody_gets_in_without_the_token(
    client: Client, monkeypatch: pytest.MonkeyPatch, token: str, code: int, said: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    found, failure = client("list")
    assert found == code
    assert said in failure["error"]
