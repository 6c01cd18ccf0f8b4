"""What `doctor --cluster` makes of profiles, of clusters that fail, and of jobs that do not answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.integration.job import Job, digits, write_folder
from vision_batch.cluster.finding import Finding, ok, warn
from vision_batch.cluster.job import JobInfo, JobState
from vision_batch.cluster.package import JobPackage
from vision_batch.errors import ClusterError
from vision_batch.jobs import cluster_checkup as module
from vision_batch.jobs.cluster_checkup import check_by_job, check_cluster

PACKAGE = JobPackage(name="doctor", files={}, arguments=("doctor", "--json"), output="")
FOUND = [ok("python", "3.12"), warn("open files", "few", "ulimit")]


class Cluster:
    """A JobService with one job, which passes through `states` and wrote `lines`."""

    def __init__(self, lines: list[str], *states: JobState) -> None:
        self.states = list(states)
        self.lines = lines
        self.packages: list[JobPackage] = []
        self.stopped = False
        self.forgotten = False

    def submit(self, package: JobPackage, job_id: str) -> None:
        assert job_id.startswith("doctor-")
        self.packages.append(package)

    def list(self) -> list[JobInfo]:
        return []

    def info(self, job_id: str) -> JobInfo:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return JobInfo(
            job_id=job_id,
            name="doctor",
            state=state,
            exit_code=None,
            message="for 1 CPU" if state == "pending" else "",
            submitted=None,
            ended=None,
            output=None,
        )

    def logs(self, job_id: str, *, follow: bool) -> Iterator[str]:
        return iter(self.lines)

    def stop(self, job_id: str) -> None:
        self.stopped = True

    def forget(self, job_id: str) -> None:
        self.forgotten = True


def said(*findings: Finding) -> list[str]:
    answer = json.dumps({"ok": True, "checks": [asdict(finding) for finding in findings]})
    return ["ok    python", answer, "a worker's last words"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)


def test_what_the_job_found_is_told_as_there() -> None:
    cluster = Cluster(said(*FOUND), "pending", "running", "done")
    first, *others = check_by_job(cluster, PACKAGE)
    assert (first.check, first.level) == ("job", "ok")
    assert others == [ok("there: python", "3.12"), warn("there: open files", "few", "ulimit")]
    assert cluster.forgotten


def test_a_job_that_answered_and_cannot_be_removed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Cluster, job_id: str) -> None:
        raise ClusterError("403: may not delete")

    monkeypatch.setattr(Cluster, "forget", refuse)
    *_, last = check_by_job(Cluster(said(*FOUND), "done"), PACKAGE)
    assert (last.check, last.level) == ("job", "warn")
    assert last.found.endswith("stays in the list: 403: may not delete")


@pytest.mark.parametrize("lines", [[], ["Traceback", "ImportError: cv2"], ["null"], ["{}"], ['{"checks": [3]}']])
def test_a_job_without_an_answer_is_told_with_its_last_words(lines: list[str]) -> None:
    cluster = Cluster(lines, "failed")
    _, finding = check_by_job(cluster, PACKAGE)
    assert not cluster.forgotten
    assert finding.level == "fail"
    assert "is failed without an answer" in finding.found
    assert finding.found.endswith(lines[-1] if lines else "nothing")


def test_a_job_that_does_not_end_is_stopped_and_told_with_what_it_waits_for() -> None:
    cluster = Cluster([], "pending")
    _, finding = check_by_job(cluster, PACKAGE, limit_s=0.05)
    assert cluster.stopped
    assert "is pending (for 1 CPU) after 0.05 s" in finding.found


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a cluster whose job finds all well."""
    path = tmp_path / "here.yaml"
    path.write_text("kind: local\n")
    monkeypatch.setattr(module, "job_service", lambda profile: Cluster(said(*FOUND), "done"))
    return path


def levels(profile: str, spec: str | None = None) -> dict[str, str]:
    return {finding.check: finding.level for finding in check_cluster(profile, spec, [])}


def test_profile_cluster_and_job_are_told_in_this_order(profile: Path) -> None:
    assert list(levels(str(profile))) == ["profile", "cluster", "job", "there: python", "there: open files"]


def test_a_profile_that_is_wrong_or_missing_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("kind: locla\n")
    assert levels(str(tmp_path / "wrong.yaml")) == {"profile": "fail"}
    assert levels(str(tmp_path / "none.yaml")) == {"profile": "fail"}


def test_a_cluster_that_does_not_answer_is_told_in_its_words(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Cluster) -> list[JobInfo]:
        raise ClusterError("http://head:8265: no answer")

    monkeypatch.setattr(Cluster, "list", refuse)
    _, finding = check_cluster(str(profile), None, [])
    assert (finding.check, finding.level, finding.found) == ("cluster", "fail", "http://head:8265: no answer")
    assert str(profile) in finding.mend


def test_the_spec_and_its_plug_ins_travel_and_what_is_wrong_with_them_is_told_here(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, cluster = Job(tmp_path, {}), Cluster(said(), "done")
    write_folder(job.data, digits(1))
    monkeypatch.setattr(module, "job_service", lambda profile: cluster)
    assert levels(str(profile), str(job.spec))["job"] == "ok"
    (package,) = cluster.packages
    assert set(package.files) == {"spec.yaml", "model_code.py"}
    assert package.arguments[:2] == ("doctor", "--json")
    assert package.arguments[-1] == "spec.yaml"
    job.spec.write_text("job: predict\n")
    found = levels(str(profile), str(job.spec))
    assert (found["profile"], found["spec"]) == ("ok", "fail")
    assert "job" not in found


def test_the_job_demands_what_is_asked_for(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(said(), "done")
    monkeypatch.setattr(module, "job_service", lambda profile: cluster)
    list(check_cluster(str(profile), None, [], ["ray>=2.60"]))
    (package,) = cluster.packages
    assert package.arguments == ("doctor", "--json", "--require", "ray>=2.60")
