"""The `submit` command: what is submitted, under which id, and what waiting for it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.fake_jobs import FakeJobs, job
from vision_batch.cli.main import main
from vision_batch.cluster.progress import JobProgress
from vision_batch.errors import ClusterError

SPEC = """
job: predict
name: nightly
input: {uri: "s3://b/in/"}
model: {source: "python:network:build"}
task: {type: classification}
preprocess: {resize_px: [8, 8]}
output: {uri: "s3://b/out/{date}"}
"""
PROGRESS = JobProgress(
    images_total=10,
    images_done=5,
    images_failed=0,
    images_per_second=2.0,
    seconds=3.0,
    seconds_left=2.5,
    shards_total=1,
    shards_done=0,
)

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeJobs:
    """A spec and a profile in the current folder, and the service that the profile leads to."""
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(SPEC)
    Path("network.py").write_text("def build(): ...")
    Path("ours.yaml").write_text("kind: ray\naddress: http://127.0.0.1:8265\n")
    fake = FakeJobs(becomes={"state": "done", "exit_code": 0, "message": "done (exit code 0)"})
    monkeypatch.setattr("vision_batch.cli.submit.job_service", lambda profile: fake)
    return fake


def submit(*arguments: str) -> int:
    return main(["submit", "spec.yaml", "--cluster", "ours.yaml", *arguments])


def test_it_prints_an_id_of_name_and_time(service: FakeJobs, capsys: Capture) -> None:
    assert submit() == 0
    job_id = capsys.readouterr().out.strip()
    assert re.fullmatch(r"nightly-\d{8}T\d{6}Z-[0-9a-f]{4}", job_id)
    assert list(service.jobs) == [job_id]


def test_two_submissions_are_two_jobs_and_of_one_scheduled_time_one(service: FakeJobs, capsys: Capture) -> None:
    assert submit() == submit() == 0
    assert len(service.jobs) == 2
    for time in ("2026-11-21T03:30:00Z", "2026-11-21T04:30:00+01:00"):
        assert submit("--scheduled-time", time) == 0
    assert len(service.jobs) == 3
    assert capsys.readouterr().out.splitlines()[2:] == ["nightly-20261121T033000Z"] * 2
    package = service.packages[-1]
    assert package.output == "s3://b/out/2026-11-21"
    assert "--scheduled-time" in package.arguments


def test_a_scheduled_job_that_has_ended_is_not_begun_again_and_how_to_resume_it_is_said(
    service: FakeJobs, capsys: Capture
) -> None:
    job_id = "nightly-20261121T033000Z"
    service.jobs[job_id] = job(job_id, state="stopped", message="stopped")
    assert submit("--scheduled-time", "2026-11-21T03:30:00Z") == 0
    out, err = capsys.readouterr()
    assert out == f"{job_id}\n"
    assert f"warning: {job_id} has ended (stopped), and one scheduled time is one job" in err
    assert "without --scheduled-time and with --output s3://b/out/2026-11-21" in err


def test_the_latest_time_of_the_schedule_is_one_job_however_often_it_is_submitted(service: FakeJobs) -> None:
    Path("spec.yaml").write_text(SPEC + "schedule: {cron: '30 3 1 1 *', timezone: UTC}\n")
    assert submit("--scheduled-time", "latest") == submit("--scheduled-time", "latest") == 0
    (job_id,) = service.jobs
    assert re.fullmatch(r"nightly-\d{4}0101T033000Z", job_id)


def test_overrides_are_part_of_what_is_submitted(service: FakeJobs) -> None:
    assert submit("-o", "name=other", "--output", "s3://b/else", "--prune", "--retry-errors", "empty,missing") == 0
    (package,) = service.packages
    assert (package.name, package.output) == ("other", "s3://b/else")
    assert package.arguments[-4:] == ("--prune", "--retry-errors", "empty", "missing")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "output.uri=/tmp/out"], "output.uri: found /tmp/out, a path of this machine"),
        (["--retry-errors", "emtpy"], "--retry-errors: found 'emtpy'"),
        (["--scheduled-time", "tonight"], "--scheduled-time: found 'tonight'"),
        (["--cluster", "none.yaml"], "none.yaml: found no such file; expected a profile"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_submitted(
    service: FakeJobs, capsys: Capture, arguments: list[str], said: str
) -> None:
    assert submit(*arguments) == 2
    assert said in capsys.readouterr().err
    assert not service.jobs


@pytest.mark.parametrize(
    ("becomes", "code"),
    [
        ({"state": "done", "exit_code": 0}, 0),
        ({"state": "done", "exit_code": None}, 0),
        ({"state": "failed", "exit_code": 3}, 3),
        ({"state": "failed", "exit_code": 4}, 4),
        ({"state": "failed", "exit_code": -9}, 1),
        ({"state": "failed", "exit_code": None}, 1),
        ({"state": "stopped", "exit_code": None}, 130),
    ],
)
def test_waiting_ends_as_the_job_does(service: FakeJobs, becomes: dict[str, object], code: int) -> None:
    service.becomes = becomes
    assert submit("--wait") == code


def test_waiting_shows_the_log_with_progress_for_people(service: FakeJobs, capsys: Capture) -> None:
    service.lines = ["connecting", PROGRESS.line()]
    assert submit("--wait", "--json") == 0
    out, err = capsys.readouterr()
    assert "connecting\n5 of about 10 images, 2/s" in err
    assert "done (exit code 0)" in err
    (line,) = out.splitlines()
    assert json.loads(line)["state"] == "done"


def test_json_is_the_job_and_all_of_standard_output(capsys: Capture) -> None:
    assert submit("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found | {"job_id": ""} == {
        "job_id": "",
        "name": "nightly",
        "state": "running",
        "exit_code": None,
        "message": "",
        "submitted": "2026-11-21T03:30:00+00:00",
        "ended": None,
        "output": found["output"],
    }


def test_ctrl_c_ends_the_wait_and_leaves_the_job(service: FakeJobs, capsys: Capture) -> None:
    service.trouble = KeyboardInterrupt()
    assert submit("--wait", "--json") == 130
    out, err = capsys.readouterr()
    job_id = json.loads(out)["job_id"]
    command = f"`vision-batch status {job_id} --cluster ours.yaml`"
    assert f"nobody waits for {job_id} any more, which was not stopped; {command}" in err
    assert not service.stopped


def test_a_log_that_is_gone_does_not_end_the_wait(service: FakeJobs, capsys: Capture) -> None:
    service.trouble = ClusterError("its node is gone")
    assert submit("--wait") == 0
    assert "the log cannot be followed: its node is gone" in capsys.readouterr().err


def test_a_cluster_that_answers_no_more_ends_the_wait(service: FakeJobs, capsys: Capture) -> None:
    service.trouble, service.is_lost = ClusterError("no answer"), True
    assert submit("--wait") == 1
    assert "any more, which was not stopped" in capsys.readouterr().err


def test_the_id_is_said_before_anybody_could_lose_it(service: FakeJobs, capsys: Capture) -> None:
    service.is_lost = True
    assert submit() == 1
    (job_id,) = service.jobs
    assert f"submitting {job_id} to ours.yaml; its output is " in capsys.readouterr().err
