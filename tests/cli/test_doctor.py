"""`doctor`: a line a check, how to mend what is wrong, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from vision_batch.cli import doctor
from vision_batch.cli.main import main
from vision_batch.cluster.finding import Finding, fail, ok, warn
from vision_batch.jobs.starter import starter_spec

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine of which these things are found."""

    def install(*findings: Finding) -> None:
        def check_machine(requirements: Sequence[str] | None) -> Iterator[Finding]:
            yield from findings
            yield from (ok("packages", f"{text} is demanded") for text in requirements or ())

        monkeypatch.setattr(doctor, "check_machine", check_machine)

    for name in doctor.S3_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return install


def test_a_healthy_machine(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(ok("python", "Python 3.11.7"), warn("open files", "at most 256", "ulimit -n 65536"))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok    python           Python 3.11.7",
        "warn  open files       at most 256",
        "                       to mend it: ulimit -n 65536",
    ]


def test_what_is_demanded_of_packages_is_demanded_of_this_machine_too(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine()
    assert main(["doctor", "--require", "ray>=2.60", "--require", "torch"]) == 0
    assert [line.split()[-3] for line in capsys.readouterr().out.splitlines()] == ["ray>=2.60", "torch"]
    assert main(["doctor", "--require", "ray >> 2"]) == 2
    assert capsys.readouterr().err.startswith("error: --require: found 'ray >> 2'; expected a package and its versions")


def test_a_failure_is_exit_2(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(fail("ray", "does not start", "read its logs"), ok("python", "3.11"))
    assert main(["doctor"]) == 2
    assert capsys.readouterr().out.count("\n") == 3


def test_json(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine(fail("ray", "does not start", "read its logs"))
    assert main(["doctor", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "ok": False,
        "checks": [{"check": "ray", "level": "fail", "found": "does not start", "mend": "read its logs"}],
    }
    assert captured.err.startswith("fail  ray")


def test_a_spec_is_checked_too(machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine()
    (tmp_path / "job.yaml").write_text(starter_spec("predict"))
    assert main(["doctor", str(tmp_path / "job.yaml")]) == 2
    shown = capsys.readouterr().out
    assert "ok    spec" in shown
    assert "fail  model            model.source: found no my_model.py" in shown
    assert main(["doctor", str(tmp_path / "job.yaml"), "-o", "task.tpo_k=3"]) == 2
    assert "did you mean 'top_k'?" in capsys.readouterr().out


def test_a_cluster_is_checked_instead_of_this_machine(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(fail("ray", "does not start", "read its logs"))
    assert main(["doctor", "--cluster", str(tmp_path / "none.yaml")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok    python                  Python 3.")
    assert any(line.startswith("fail  profile                 ") and "none.yaml" in line for line in lines)
    assert not any("does not start" in line for line in lines)


def test_a_ray_that_is_not_there_is_one_finding(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine()
    assert main(["doctor", "--address", "127.0.0.1:1"]) == 2
    assert "nothing that answers at 127.0.0.1:1" in capsys.readouterr().out


def test_a_cluster_is_named_in_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--cluster", "ray", "--address", "auto"]) == 2
    assert "--cluster: found --address too; expected one of them" in capsys.readouterr().err


def test_credentials_are_looked_at_where_the_environment_speaks_of_s3(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine()
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("ok    s3 credentials   found by env")
    assert "hunter2" not in shown
    assert "AKIAEXAMPLE" not in shown
