"""`doctor` on a cluster: every node says what it has, and storage is seen as a worker sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import S3Bucket
from tests.integration.conftest import SubmitCluster
from tests.integration.job import Job, digits, write_folder
from tests.integration.ray_head import CPUS
from vision_batch.cli.main import main

pytestmark = pytest.mark.ray

Capture = pytest.CaptureFixture[str]


def doctor(capsys: Capture, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Its exit code, and its findings by check."""
    code = main(["doctor", "--json", *arguments])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return code, {finding["check"]: finding for finding in checks}


def test_nodes_and_what_a_worker_sees_of_storage_are_told(
    job: Callable[..., Job], ray_address: str, capsys: Capture
) -> None:
    it = job()
    write_folder(it.data, digits(2))
    code, found = doctor(capsys, str(it.spec), "--address", ray_address)
    assert code == 0
    assert found["ray"]["found"] == "1 nodes with 4 CPUs and 2 GPUs"
    assert found["versions"]["level"] == found["packages"]["level"] == "ok"
    node = found["versions"]["found"].partition(": ")[0]
    assert found["input"]["found"] == f"{node}: {it.data}/00000.jpg is there"
    assert found["output"]["found"].startswith(f"{node}: {it.output} can be written")
    assert not it.output.exists()


@pytest.mark.s3
def test_a_job_looks_around_there(
    job: Callable[..., Job],
    submit_cluster: SubmitCluster,
    moto_s3: S3Bucket,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", submit_cluster.head.token)
    profile = tmp_path / "cluster.yaml"
    profile.write_text(f"kind: ray\naddress: http://127.0.0.1:{submit_cluster.head.port}\n")
    it = job(input={"uri": f"{moto_s3.uri}/in/"}, output={"uri": f"{moto_s3.uri}/out"})
    moto_s3.server.client().put_object(Bucket=moto_s3.bucket, Key="in/0.jpg", Body=digits(1)[0])
    code, found = doctor(capsys, str(it.spec), "--cluster", str(profile))
    assert code == 0, [finding for finding in found.values() if finding["level"] != "ok"]
    assert found["there: ray"]["found"] == f"1 nodes with {CPUS} CPUs and 0 GPUs"
    assert found["there: versions"]["level"] == "ok"
    assert "pyarrow" in found["there: packages"]["found"]
    assert found["there: s3 credentials"]["found"].endswith(submit_cluster.storage.endpoint)
    assert found["there: input"]["found"].endswith(f": {moto_s3.uri}/in/0.jpg is there")
    assert found["there: model"]["level"] == "ok"
    (left,) = moto_s3.server.client().list_objects_v2(Bucket=moto_s3.bucket)["Contents"]
    assert left["Key"] == "in/0.jpg"
    assert submit_cluster.head.token not in str(found)
    assert moto_s3.server.secret_key not in str(found)
    assert main(["list", "--cluster", str(profile)]) == 0
    assert "doctor-" not in capsys.readouterr().out


def test_a_token_that_is_wrong_is_told(
    submit_cluster: SubmitCluster, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    profile = tmp_path / "cluster.yaml"
    profile.write_text(f"kind: ray\naddress: http://127.0.0.1:{submit_cluster.head.port}\n")
    code, found = doctor(capsys, "--cluster", str(profile))
    assert (code, found["cluster"]["level"]) == (2, "fail")
    assert "does not accept the token" in found["cluster"]["found"]
