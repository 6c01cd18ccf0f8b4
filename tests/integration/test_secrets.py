"""What a run is given in secret is nowhere afterwards, and no stranger's code has run."""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import grpc
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket, bucket_on
from tests.faults.chaos_processes import Session
from tests.integration.job import Job, digits, write_parquet
from tests.integration.leftovers import files
from tests.object_store.servers import moto_server
from vision_batch.cli.main import main
from vision_batch.jobs.checkup import check_spec
from vision_batch.storage.table import storage_for

PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted+secret/key",
    "AWS_SESSION_TOKEN": "planted+session/token==",
    "RAY_AUTH_TOKEN": "planted-token-of-a-cluster",
    "HF_TOKEN": "hf_plantedtokenofahub",
    "HTTPS_PROXY": "http://me:planted-in-a-proxy@127.0.0.1:9",
    "DATABASE_PASSWORD": "planted-in-a-variable",
}
IN_THE_INPUT = "planted-in-a-url"
IN_A_SIGNATURE = "planted-signature"

INTRUDER = "raise SystemExit('imported: ' + __file__)"


class Watched(Session):
    """A run whose processes' command lines, and the environment of its Ray, are looked at until it ends."""

    def __init__(self, job: Job, log: Path, folder: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, "-P", "-m", "vision_batch", "-v", "run", str(job.spec), "--json", "--report"]
        super().__init__(command, log, cwd=folder, env={**os.environ, **environment})
        self.titles: set[str] = set()
        self.token = ""
        self.answers: list[grpc.StatusCode] = []

    def wait(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while self._leader.poll() is None and time.monotonic() < deadline:
            for process in self.processes():
                self.titles.add(process.title)
                if process.role == "raylet" and not self.answers:
                    self.token = variables(process.pid).get("RAY_AUTH_TOKEN", "")
                    address = process.title.partition("--gcs-address=")[2].split()[0]
                    tokens = [None, PLANTED["RAY_AUTH_TOKEN"], self.token]
                    self.answers = [answer(address, token) for token in tokens]
            time.sleep(0.1)
        return self._leader.poll()


@pytest.fixture
def lenient_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """A bucket on a server that takes any session token."""
    with moto_server(unchecked=1_000_000) as server:
        for bucket in bucket_on(server, monkeypatch):
            monkeypatch.setenv("AWS_SESSION_TOKEN", PLANTED["AWS_SESSION_TOKEN"])
            yield bucket


def answer(address: str, token: str | None) -> grpc.StatusCode:
    """What Ray says to somebody who knows its port and has a token, or none."""
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            call(b"", timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def variables(pid: int) -> dict[str, str]:
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes().decode()
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in content.split("\0") if "=" in entry)


def stored(bucket: S3Bucket) -> Iterator[tuple[str, bytes]]:
    """Every object but the input's; of Parquet also what is written inside."""
    storage = storage_for(bucket.uri)
    for info in storage.list(bucket.uri):
        if "/data/" in info.uri:
            continue
        content = storage.read(info.uri)
        yield info.uri, content
        if content.endswith(b"PAR1"):
            table = pq.read_table(io.BytesIO(content))
            yield f"rows of {info.uri}", repr((table.schema.metadata, table.to_pylist())).encode()


def forms(secret: str) -> list[bytes]:
    return [secret.encode(), quote(secret, safe="").encode(), base64.b64encode(secret.encode()).rstrip(b"=")]


@pytest.mark.ray
@pytest.mark.s3
def test_a_run_leaves_no_secret_behind_and_imports_nothing_from_where_it_is_started(
    job: Callable[..., Job], lenient_s3: S3Bucket, tmp_path: Path
) -> None:
    it = job(
        input={"uri": f"{lenient_s3.uri}/data/", "format": "parquet"},
        output={"uri": f"{lenient_s3.uri}/out"},
        limits={"max_error_fraction": 1.0},
    )
    storage = storage_for(lenient_s3.uri)
    for number, content in enumerate(digits(4)):
        storage.put(f"{lenient_s3.uri}/data/{number}.jpg", content)
    url = f"http://me:{IN_THE_INPUT}@127.0.0.1/a.jpg?X-Amz-Signature={IN_A_SIGNATURE}"
    write_parquet(it.folder / "list.parquet", ["0.jpg", "1.jpg", "2.jpg", "3.jpg", url, f"s3://elsewhere/{'x' * 9}"])
    storage.put(f"{lenient_s3.uri}/data/a.parquet", (it.folder / "list.parquet").read_bytes())

    current = tmp_path / "where it is started"
    current.mkdir()
    for name in ("cv2", "numpy", "torch", "tqdm", "yaml", "vision_batch", "sitecustomize", "secrets"):
        (current / f"{name}.py").write_text(INTRUDER)

    with tempfile.TemporaryDirectory(prefix="vb-") as sessions:
        environment = {
            **PLANTED,
            "RAY_TMPDIR": sessions,
            "HOME": os.devnull,
            "NO_PROXY": "127.0.0.1",
            "RAY_AUTH_MODE": "disabled",
        }
        run = Watched(it, tmp_path / "log.txt", current, environment)
        try:
            code = run.wait(120)
        finally:
            run.kill_all()
        said = run.log.read_text()
        assert code == 0, said
        assert "imported: " not in said
        logs = dict(files(Path(sessions)))
    found = {
        "what was said": said.encode(),
        "command lines": "\n".join(run.titles).encode(),
        **logs,
        **dict(stored(lenient_s3)),
    }
    assert any(name.endswith("raylet.out") for name in found)
    assert any("/_ledger/runs/" in name for name in found)
    assert any("-metrics/" in name for name in found)
    assert any(name.endswith("-report.html") for name in found)
    assert b"leads out of the input" in b"".join(found.values())

    assert len(run.token) == 64
    refused = grpc.StatusCode.UNAUTHENTICATED
    assert run.answers == [refused, refused, grpc.StatusCode.OK]
    others = {"Ray's own token": run.token, "a URL's password": IN_THE_INPUT, "a signature": IN_A_SIGNATURE}
    for what, secret in {**PLANTED, **others}.items():
        value = secret.removeprefix("http://me:").partition("@")[0]
        holders = [name for name, content in found.items() if any(form in content for form in forms(value))]
        assert not holders, f"{what} is in {holders}"


@pytest.mark.s3
@pytest.mark.parametrize("command", ["plan", "run"])
def test_errors_and_tracebacks_name_no_secret(
    job: Callable[..., Job],
    moto_s3: S3Bucket,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    it = job(input={"uri": f"{moto_s3.uri}/data/"}, output={"uri": f"{moto_s3.uri}/out"})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "planted-session")
    assert main(["-v", command, str(it.spec), "--json"]) == 2
    findings = [*check_spec(str(it.spec), [])]
    assert "fail" in [finding.level for finding in findings]
    said = "".join(capsys.readouterr()) + repr(findings)
    assert "renew them" in said
    assert "planted" not in said


def test_a_manifest_holds_nothing_of_the_environment(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    it = job(input={"uri": "s3://bucket/data/"}, output={"uri": "s3://bucket/out"}, schedule={"cron": "30 3 * * *"})
    for name, secret in PLANTED.items():
        monkeypatch.setenv(name, secret)
    profile = Path(__file__).parents[2] / "cluster" / "kuberay.yaml"
    assert main(["manifest", str(it.spec), "--cluster", str(profile)]) == 0
    said = capsys.readouterr().out
    assert "kind: CronJob" in said
    assert not [name for name, secret in PLANTED.items() if secret in said]
