"""`manifest` prints what `kubectl apply` takes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.validation import validate
from vision_batch.cli.main import main

PROFILE = """
kind: kuberay
image: registry.example.com/vision-batch:1
ray_version: 2.60.0
groups: [{name: cpu, cpus: 4, memory: 16Gi}]
"""
SPEC = """
job: predict
name: Nightly_Label
input: {uri: s3://bucket/images/}
model: {source: "python:net:build", weights: s3://bucket/w.safetensors, labels: [a, b]}
task: {type: classification}
preprocess: {resize_shorter_px: 8, crop_px: 8}
output: {uri: "s3://bucket/labels/{date}/"}
"""
SCHEDULE = "schedule: {cron: 30 3 * * *, timezone: Europe/Berlin}\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kube.yaml").write_text(PROFILE)
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "nightly.yaml").write_text(SPEC + SCHEDULE)
    (tmp_path / "net.py").write_text("def build():\n    return None\n")
    (tmp_path / "other.py").write_text("SECRET = 1\n")
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["manifest", *arguments, "--cluster", "kube.yaml"]) == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    for found in objects:
        validate(found)
    return objects


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["manifest", *arguments]) == 2
    return capsys.readouterr().err


def test_a_job_and_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    files, job = printed(capsys, "spec.yaml")
    assert [found["kind"] for found in (files, job)] == ["ConfigMap", "RayJob"]
    assert sorted(files["data"]) == ["000-net.py", "001-spec.yaml"]
    assert job["metadata"]["name"].startswith("j-nightly-label-")
    assert "{date}" not in files["data"]["001-spec.yaml"]


def test_a_schedule_keeps_its_places_for_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    files, *_, cron_job = printed(capsys, "nightly.yaml")
    assert cron_job["kind"] == "CronJob"
    assert "s3://bucket/labels/{date}" in files["data"]["001-spec.yaml"]
    assert (
        "{date}" in json.loads(files["data"]["night.json"])["ray_job"]["metadata"]["annotations"]["vision-batch/output"]
    )


def test_a_schedule_can_be_left_aside(capsys: pytest.CaptureFixture[str]) -> None:
    assert [found["kind"] for found in printed(capsys, "nightly.yaml", "--once")] == ["ConfigMap", "RayJob"]


def test_the_other_kind_of_cron_job(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ("-o", "output.uri=s3://bucket/labels/")
    kinds = [found["kind"] for found in printed(capsys, "nightly.yaml", "--ray-cron-job", *overrides)]
    assert kinds == ["ConfigMap", "RayCronJob"]


def test_a_file_instead_of_standard_output(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert main(["manifest", "spec.yaml", "--cluster", "kube.yaml", "--to", "out.yaml"]) == 0
    assert capsys.readouterr().out == ""
    assert len(list(yaml.safe_load_all((here / "out.yaml").read_text()))) == 2


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: nothing to compare with")
def test_kubectl_reads_what_was_meant(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    """Its YAML is not PyYAML's."""
    objects = printed(capsys, "nightly.yaml")
    (here / "out").mkdir()
    assert main(["manifest", "nightly.yaml", "--cluster", "kube.yaml", "--to", "out/all.yaml"]) == 0
    (here / "out" / "kustomization.yaml").write_text("resources: [all.yaml]\n")
    text = subprocess.run(
        ["kubectl", "kustomize", "out"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    read = list(yaml.safe_load_all(text))
    assert sorted(read, key=lambda found: found["kind"]) == sorted(objects, key=lambda found: found["kind"])


def test_nobody_is_told_of_failures(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "nightly.yaml").write_text(SPEC + SCHEDULE.replace("}", ", on_failure: team}"))
    assert main(["manifest", "nightly.yaml", "--cluster", "kube.yaml"]) == 0
    assert "warning: on_failure is not done" in capsys.readouterr().err


def test_secrets_of_the_environment_stay_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, f"planted-{name}")
    assert "planted" not in json.dumps(printed(capsys, "nightly.yaml"))


def test_what_cannot_be_is_refused(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert "expected a schedule, for --ray-cron-job" in refused(
        capsys, "spec.yaml", "--cluster", "kube.yaml", "--ray-cron-job"
    )
    (here / "local.yaml").write_text("kind: local\n")
    assert "expected a profile of kind kuberay" in refused(capsys, "spec.yaml", "--cluster", "local.yaml")
    (here / "spec.yaml").write_text(SPEC.replace("s3://bucket/images/", "/images"))
    assert "a path below one of volumes in kube.yaml" in refused(capsys, "spec.yaml", "--cluster", "kube.yaml")
