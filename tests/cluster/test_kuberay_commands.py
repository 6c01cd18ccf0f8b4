"""The commands look after a job in Kubernetes as after any other, from its submission to its end."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kubernetes_server import KubernetesServer
from tests.integration.job import MODEL
from vision_batch.cli.main import main
from vision_batch.cluster.progress import JobProgress

PROFILE = """
kind: kuberay
image: registry.example.com/vision-batch:1
ray_version: 2.60.0
groups: [{name: gpu, cpus: 4, memory: 16Gi, gpus: 1}]
secrets: [object-store]
"""
SPEC = """
job: predict
name: nightly
input: {uri: "s3://bucket/images/"}
model: {source: "python:net:build"}
task: {type: classification}
preprocess: {resize_px: [28, 28]}
output: {uri: "s3://bucket/labels/{date}"}
"""
PROGRESS = JobProgress(
    images_total=1000,
    images_done=400,
    images_failed=3,
    images_per_second=40.0,
    seconds=12.0,
    seconds_left=15.0,
    shards_total=4,
    shards_done=1,
)


@pytest.fixture(autouse=True)
def here(kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kube.yaml").write_text(PROFILE)
    Path("spec.yaml").write_text(SPEC)
    Path("net.py").write_text(MODEL)
    Path("diary.py").write_text("SECRET = 'not for others'\n")


def typed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the object of a command."""
    code = main([*arguments, "--cluster", "kube.yaml", "--json"])
    out, err = capsys.readouterr()
    sys.stderr.write(err)  # shown where the test fails
    return code, json.loads(out.splitlines()[-1])


def becomes(server: KubernetesServer, deployment: str, ray: str, message: str = "") -> None:
    server.only("rayjobs")["status"] = {
        "jobDeploymentStatus": deployment,
        "jobStatus": ray,
        "message": message,
        **({"endTime": "2026-11-21T04:00:00Z"} if deployment in ("Complete", "Failed") else {}),
    }


@contextmanager
def operated(when: Callable[[], object], then: Callable[[], None]) -> Iterator[None]:
    """An operator beside the block: does something when something is so."""

    def operate() -> None:
        while not when():
            time.sleep(0.02)
        then()

    operator = threading.Thread(target=operate)
    operator.start()
    yield
    operator.join()


def writes(server: KubernetesServer, *lines: str) -> None:
    """The pod that hands the job to Ray writes what the driver says."""
    name = server.only("rayjobs")["metadata"]["name"]
    server.put("pods", f"{name}-pod", labels={"job-name": name})
    server.logs[f"{name}-pod"] = list(lines)


def test_a_job_from_its_submission_to_its_end(server: KubernetesServer, capsys: pytest.CaptureFixture[str]) -> None:
    again = ("submit", "spec.yaml", "--scheduled-time", "2026-11-21T03:30:00Z")
    assert typed(capsys, *again)[1]["state"] == "pending"
    code, submitted = typed(capsys, *again)
    job_id = "nightly-20261121T033000Z"
    assert (code, submitted["job_id"], submitted["output"]) == (0, job_id, "s3://bucket/labels/2026-11-21")
    files = server.only("configmaps")["data"]
    assert sorted(files) == ["000-net.py", "001-spec.yaml"], "the plug-in and the spec, and nothing else of the folder"

    becomes(server, "Running", "RUNNING")
    writes(server, "hello", PROGRESS.line())
    running = typed(capsys, "status", job_id)[1]
    assert (running["state"], running["progress"]["images_done"]) == ("running", 400)
    assert main(["logs", job_id, "--cluster", "kube.yaml"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "hello"
    assert [job["job_id"] for job in typed(capsys, "list")[1]["jobs"]] == [job_id]

    with operated(lambda: server.only("rayjobs")["spec"].get("suspend"), lambda: becomes(server, "Suspended", "")):
        assert typed(capsys, "stop", job_id)[1]["state"] == "stopped"
    assert typed(capsys, "status", job_id)[1]["state"] == "stopped"


def test_who_waits_gets_the_jobs_own_exit_code(server: KubernetesServer, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        writes(server, PROGRESS.line(), "incomplete: 2 shards")
        becomes(server, "Failed", "FAILED", "Job entrypoint command failed with exit code 4, last available logs")

    with operated(lambda: server.all("rayjobs"), fails):
        code, info = typed(capsys, "submit", "spec.yaml", "--wait")
    assert (code, info["state"], info["exit_code"]) == (4, "failed", 4)
