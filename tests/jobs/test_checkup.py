"""What doctor says of a spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from vision_batch.cluster.finding import Finding
from vision_batch.errors import ForbiddenError
from vision_batch.jobs.checkup import check_credentials, check_output, check_spec
from vision_batch.storage.local import LocalStorage
from vision_batch.storage.object_info import ObjectInfo

SPEC = """
job: predict
input: {uri: images}
model: {source: "python:tiny:build", labels: [a, b]}
task: {type: classification}
preprocess: {resize_px: [8, 8]}
output: {uri: labels}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec with an image and a model beside it."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").write_bytes(b"not looked at")
    (tmp_path / "tiny.py").write_text("def build():\n    raise SystemExit('not loaded either')\n")
    (tmp_path / "job.yaml").write_text(SPEC)
    return tmp_path / "job.yaml"


def check(spec: Path, *overrides: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_spec(str(spec), list(overrides))}


def levels(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.level for name, finding in findings.items() if name != "output disk"}


def test_all_that_a_good_spec_names_is_there_and_nothing_is_left_behind(spec: Path) -> None:
    before = sorted(spec.parent.rglob("*"))
    found = check(spec)
    assert levels(found) == {"spec": "ok", "input": "ok", "input format": "ok", "output": "ok", "model": "ok"}
    assert found["input format"].found == "folder"
    assert found["model"].found == "python:tiny:build, 2 labels"
    assert "output disk" in found
    assert sorted(spec.parent.rglob("*")) == before


def test_every_problem_of_a_spec_is_a_finding(spec: Path) -> None:
    findings = list(check_spec(str(spec), ["task.tpo_k=1", "compute.layout=x"]))
    assert [finding.level for finding in findings] == ["fail", "fail"]
    assert "did you mean 'top_k'?" in findings[1].found + findings[0].found


def test_an_input_that_is_not_there(spec: Path) -> None:
    found = check(spec, f"input.uri={spec.parent}/nowhere")
    assert found["input"].level == "fail"
    assert "input format" not in found
    assert found["model"].level == "ok"


def test_an_input_that_is_empty(spec: Path) -> None:
    (spec.parent / "images" / "x.png").unlink()
    found = check(spec)
    assert levels(found)["input"] == "warn"
    assert levels(found)["input format"] == "fail"


def test_a_model_and_a_function_that_are_not_there(spec: Path) -> None:
    assert check(spec, "model.source=python:none:build")["model"].level == "fail"
    found = check(spec, "preprocess.function=none:prepare")["model"]
    assert found.level == "fail"
    assert "preprocess.function" in found.found


def test_an_output_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: LocalStorage, uri: str, data: bytes, **options: object) -> ObjectInfo:
        raise ForbiddenError(uri, "read-only file system")

    monkeypatch.setattr(LocalStorage, "put", refuse)
    found = {finding.check: finding for finding in check_output(str(tmp_path / "a" / "b"))}
    assert found["output"].level == "fail"
    assert "read-only file system" in found["output"].found


def test_a_store_that_overwrites_what_must_be_absent_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = LocalStorage.put

    def careless(self: LocalStorage, uri: str, data: bytes, **options: object) -> ObjectInfo:
        return honest(self, uri, data)

    monkeypatch.setattr(LocalStorage, "put", careless)
    found = {finding.check: finding for finding in check_output(str(tmp_path))}
    assert found["output"].level == "fail"
    assert "If-None-Match" in found["output"].found
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_overwrites_another_version_is_worth_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = LocalStorage.put

    def careless(self: LocalStorage, uri: str, data: bytes, *, if_absent: bool, **options: object) -> ObjectInfo:
        return honest(self, uri, data, if_absent=if_absent)

    monkeypatch.setattr(LocalStorage, "put", careless)
    (finding,) = (finding for finding in check_output(str(tmp_path)) if finding.check == "output")
    assert finding.level == "warn"
    assert "If-Match with another ETag" in finding.found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.s3
@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (412, "PreconditionFailed")])
def test_a_server_that_never_overwrites_is_worth_a_warning(
    rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    with FaultProxy(rgw_s3.server.address) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        proxy.rules = [Rule(kind="status", match="^PUT", header="^if-match:", status=status, code=code)]
        (finding,) = check_output(f"{rgw_s3.uri}/labels")
    assert finding.level == "warn"
    assert "refused to overwrite an object under If-Match" in finding.found


@pytest.mark.s3
def test_a_bucket_is_listed_written_and_left_as_it_was(spec: Path, s3: S3Bucket) -> None:
    client = s3.server.client()
    client.put_object(Bucket=s3.bucket, Key="images/x.jpg", Body=b"x")
    found = check(spec, f"input.uri={s3.uri}/images/", f"output.uri={s3.uri}/labels/")
    assert set(levels(found).values()) == {"ok"}
    assert "found by env" in found["s3 credentials"].found
    assert s3.server.endpoint in found["s3 credentials"].found
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=s3.bucket)["Contents"]]
    assert keys == ["images/x.jpg"]
    assert s3.server.secret_key not in str(found)
    assert s3.server.access_key not in str(found)


@pytest.mark.s3
def test_a_bucket_that_is_not_there(spec: Path, moto_s3: S3Bucket) -> None:
    found = check(spec, "input.uri=s3://no-such-bucket/images/", "output.uri=s3://no-such-bucket/labels/")
    assert found["input"].level == "fail"
    assert found["output"].level == "fail"


def test_credentials_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://user:hunter2@store.example:9000/x")
    finding = check_credentials()
    assert finding.level == "warn"
    assert "https://store.example:9000" in finding.found
    assert "hunter2" not in finding.found
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert check_credentials().level == "fail"
