"""The commands that look after submitted jobs: list, status, logs, stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.fake_jobs import SUBMITTED, FakeJobs, job
from vision_batch.cli import stop as stop_command
from vision_batch.cli.main import main
from vision_batch.cluster.progress import JobProgress
from vision_batch.errors import ClusterError

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

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeJobs:
    """A cluster with one job that runs, which `--cluster ours` leads to."""
    monkeypatch.chdir(tmp_path)
    Path("cluster").mkdir()
    Path("cluster/ours.yaml").write_text("kind: ray\naddress: http://127.0.0.1:8265\n")
    fake = FakeJobs(jobs={"nightly-1": job()})
    monkeypatch.setattr("vision_batch.cli.cluster_job.job_service", lambda profile: fake)
    return fake


def call(*arguments: str) -> int:
    return main([*arguments, "--cluster", "ours"])


def test_list_is_a_table_and_an_object(service: FakeJobs, capsys: Capture) -> None:
    service.jobs["nightly-22"] = job("nightly-22", state="failed", exit_code=4, message="incomplete", ended=SUBMITTED)
    assert call("list") == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["JOB", "SUBMITTED", "ENDED", "STATE"]
    assert first.split()[0] == "nightly-1"
    assert first.endswith("  -                    running")
    assert second.endswith("failed: incomplete")
    assert call("list", "--json") == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert [(each["job_id"], each["state"], each["exit_code"]) for each in jobs] == [
        ("nightly-1", "running", None),
        ("nightly-22", "failed", 4),
    ]


def test_a_cluster_without_jobs_says_so(service: FakeJobs, capsys: Capture) -> None:
    service.jobs.clear()
    assert call("list") == 0
    assert capsys.readouterr().out == "no jobs\n"


def test_status_says_how_far_a_job_is(service: FakeJobs, capsys: Capture) -> None:
    service.lines = ["something", PROGRESS.line(), "something else"]
    assert call("status", "nightly-1") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("nightly-1 running\n  progress    400 of about 1,000 images, 40/s, 15 s left, 3 failed\n")
    assert "  output      s3://b/out" in shown
    assert call("status", "nightly-1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["progress"]["images_done"]) == ("running", 400)


def test_status_of_a_job_that_has_said_nothing_yet(service: FakeJobs, capsys: Capture) -> None:
    service.jobs["nightly-1"] = job(state="pending", message="Waiting for a node.")
    service.trouble = AssertionError("a job that has not begun has no log")
    assert call("status", "nightly-1", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["progress"] is None
    assert err.startswith("nightly-1 pending: Waiting for a node.\n")


def test_status_says_what_a_job_failed_of(service: FakeJobs, capsys: Capture) -> None:
    service.jobs["nightly-1"] = job(state="failed", exit_code=5, message="another run holds the output (exit code 5)")
    service.lines = ["a warning", "error: s3://b/out: run 7 (job nightly-0) holds it", "bye"]
    assert call("status", "nightly-1") == 0
    assert "\n  error       s3://b/out: run 7 (job nightly-0) holds it\n" in capsys.readouterr().out
    service.jobs["nightly-1"] = job()
    assert call("status", "nightly-1") == 0
    assert "  error " not in capsys.readouterr().out


def test_status_needs_no_log(service: FakeJobs, capsys: Capture) -> None:
    """It may be gone with the driver's node, and the state is known all the same."""
    service.jobs["nightly-1"] = job(state="failed", message="its node died")
    service.trouble = ClusterError("no such node")
    assert call("status", "nightly-1") == 0
    out, err = capsys.readouterr()
    assert out.startswith("nightly-1 failed: its node died\n")
    assert "its log cannot be read: no such node" in err


def test_logs_are_lines_as_they_were_written(service: FakeJobs, capsys: Capture) -> None:
    service.lines = ["one", "", "  three"]
    assert call("logs", "nightly-1", "--follow") == 0
    assert capsys.readouterr().out == "one\n\n  three\n"
    assert call("logs", "nightly-1", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"job_id": "nightly-1", "lines": service.lines}
    assert err == "one\n\n  three\n"


def test_progress_in_logs_is_in_words_for_people(service: FakeJobs, capsys: Capture) -> None:
    service.lines = ["one", PROGRESS.line()]
    assert call("logs", "nightly-1") == 0
    assert capsys.readouterr().out == "one\n400 of about 1,000 images, 40/s, 15 s left, 3 failed\n"
    assert call("logs", "nightly-1", "--raw") == 0
    assert capsys.readouterr().out == f"one\n{PROGRESS.line()}\n"
    assert call("logs", "nightly-1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["lines"] == service.lines


def test_stop_waits_until_the_job_has_ended(service: FakeJobs, capsys: Capture) -> None:
    service.becomes = {"state": "stopped", "message": "stopped; what was whole is committed"}
    assert call("stop", "nightly-1", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["state"] == "stopped"
    assert err == "nightly-1 stopped; what was whole is committed\n"


def test_stop_leaves_a_job_that_has_ended(service: FakeJobs, capsys: Capture) -> None:
    service.jobs["nightly-1"] = job(state="failed", exit_code=4, message="incomplete")
    assert call("stop", "nightly-1") == 0
    assert capsys.readouterr().out == "nightly-1 failed: incomplete\n"
    assert not service.stopped


def test_a_job_that_does_not_stop_is_told_of(
    service: FakeJobs, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_command, "WAIT_S", 0.0)
    monkeypatch.setattr(stop_command, "POLL_S", 0.01)
    assert call("stop", "nightly-1") == 1
    assert "nightly-1 was asked to stop and is still running after 0 s" in capsys.readouterr().err
    assert service.stopped == ["nightly-1"]


@pytest.mark.parametrize("command", ["status", "logs", "stop"])
def test_a_job_that_there_is_not(command: str, capsys: Capture) -> None:
    assert call(command, "none") == 1
    assert "no job none" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["list"], ["status", "x"], ["logs", "x"], ["stop", "x"]])
def test_a_cluster_has_to_be_named(command: list[str], capsys: Capture) -> None:
    assert main(command) == 2
    assert "--cluster" in capsys.readouterr().err
