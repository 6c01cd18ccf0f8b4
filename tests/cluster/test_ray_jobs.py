"""What is asked of the Jobs API, and what its answers mean. The real one is in tests/integration/test_submit.py."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
import ray

from tests.cluster.jobs_api import Answer, JobsApi, Request, jobs_api
from vision_batch import __version__
from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.profile import RayProfile
from vision_batch.cluster.ray_jobs import RayJobs, entrypoint, job_info
from vision_batch.errors import ClusterError, SpecError

PACKAGE = JobPackage(
    name="nightly",
    files={"spec.yaml": b"job: predict"},
    arguments=("run", "spec.yaml", "--progress", "--json"),
    output="s3://b/out",
)
JOB: dict[str, Any] = {
    "type": "SUBMISSION",
    "submission_id": "nightly-1",
    "status": "RUNNING",
    "message": "Job is currently running.",
    "start_time": 1_795_000_000_000,
    "end_time": None,
    "driver_exit_code": None,
    "metadata": {"vision_batch": "0", "name": "nightly", "output": "s3://b/out"},
}
HEAD = {"node_id": "a" * 56, "state": "ALIVE", "is_head_node": True}
WORKER = {"node_id": "b" * 56, "state": "ALIVE", "is_head_node": False}


class Cluster:
    """Answers as Ray does; of the request with the number `lost` the answer never arrives."""

    def __init__(
        self, *nodes: dict[str, Any], version: str = ray.__version__, auth: str = "token", lost: int = 0
    ) -> None:
        self.jobs: dict[str, Any] = {}
        self.nodes, self.version, self.auth = nodes or (HEAD,), version, auth
        self.archives: set[str] = set()
        self.lost = lost

    def __call__(self, request: Request) -> Answer:
        self.lost -= 1
        answer = self._answer(request)
        return (0, None) if self.lost == 0 else answer

    def _answer(self, request: Request) -> Answer:
        *_, job_id = request.path.split("/")
        match request.method, request.path:
            case "GET", "/api/version":
                return 200, {"ray_version": self.version}
            case "GET", "/api/authentication_mode":
                return 200, {"authentication_mode": self.auth}
            case "GET", "/api/v0/nodes":
                return 200, {"data": {"result": {"result": self.nodes}}}
            case "PUT", _:
                self.archives.add(request.path)
                return 200, b""
            case "GET", path if path in self.archives:
                return 200, b""
            case "POST", "/api/jobs/":
                return self._submit(request.json)
            case "GET", "/api/jobs/":
                return 200, list(self.jobs.values())
            case "GET", _ if job_id in self.jobs:
                return 200, self.jobs[job_id]
            case "DELETE", _ if job_id in self.jobs:
                return self._delete(job_id)
            case _:
                return 404, b"does not exist"

    def _delete(self, job_id: str) -> Answer:
        if self.jobs[job_id]["status"] == "RUNNING":
            return 500, b"Traceback\nRuntimeError: but it is in a non-terminal state RUNNING."
        del self.jobs[job_id]
        return 200, {"deleted": True}

    def _submit(self, body: dict[str, Any]) -> Answer:
        if body["submission_id"] in self.jobs:
            return 500, b"Traceback\nValueError: Job with submission_id already exists."
        self.jobs[body["submission_id"]] = JOB | {"submission_id": body["submission_id"]}
        return 200, {}


def service(api: JobsApi) -> RayJobs:
    return RayJobs(RayProfile(kind="ray", address=api.address, auth="none"))


def posted(api: JobsApi) -> Any:
    return next(request.json for request in api.requests if request.method == "POST")


@pytest.mark.parametrize("lost", range(1, 7))
def test_whichever_answer_is_lost_there_is_one_job(lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.cluster.dashboard.FIRST_PAUSE_S", 0.01)
    cluster = Cluster(lost=lost)
    with jobs_api(cluster) as api:
        service(api).submit(PACKAGE, "nightly-1")
        assert cluster.lost < 0, "a submission asks at least so many times"
        assert [info.job_id for info in service(api).list()] == ["nightly-1"]
        assert len(cluster.archives) == 1


def test_an_archive_that_the_cluster_has_is_kept_and_not_sent_again() -> None:
    with jobs_api(Cluster()) as api:
        service(api).submit(PACKAGE, "nightly-1")
        service(api).submit(PACKAGE, "nightly-2")
        (sent,) = api.asked("PUT")
        assert api.asked("GET").count(sent) == 2, "asking for it is what has Ray keep it"


def test_a_job_that_is_there_is_not_submitted_again() -> None:
    with jobs_api(Cluster()) as api:
        service(api).submit(PACKAGE, "nightly-1")
        service(api).submit(PACKAGE, "nightly-1")
        assert len(api.asked("POST")) == len(api.asked("PUT")) == 1


def test_what_is_submitted_is_complete_and_holds_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    with jobs_api(Cluster()) as api:
        service(api).submit(PACKAGE, "nightly-1")
        body = posted(api)
        (archive,) = api.asked("PUT")
    assert body["submission_id"] == "nightly-1"
    assert body["runtime_env"]["working_dir"] == f"gcs://{archive.rpartition('/')[2]}"
    assert body["metadata"] == {"vision_batch": __version__, "name": "nightly", "output": "s3://b/out"}
    assert "planted" not in str([request.body for request in api.requests])


def test_a_driver_stays_away_from_the_head_where_there_is_another_node() -> None:
    with jobs_api(Cluster(HEAD, WORKER)) as api:
        service(api).submit(PACKAGE, "nightly-1")
        assert posted(api)["entrypoint_label_selector"] == {"ray.io/node-id": f"!{HEAD['node_id']}"}


@pytest.mark.parametrize("nodes", [(HEAD,), (HEAD, WORKER | {"state": "DEAD"})])
def test_a_driver_goes_to_a_head_that_is_alone(nodes: tuple[dict[str, Any], ...]) -> None:
    with jobs_api(Cluster(*nodes)) as api:
        service(api).submit(PACKAGE, "nightly-1")
        assert posted(api)["entrypoint_label_selector"] == {}


def test_another_ray_is_refused_before_anything_is_sent() -> None:
    with jobs_api(Cluster(version="2.9.0")) as api:
        with pytest.raises(ClusterError, match=rf"the cluster has Ray 2.9.0; vision-batch {__version__} needs ray"):
            service(api).submit(PACKAGE, "nightly-1")
        assert not api.asked("PUT")


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, {}), (200, []), (404, b"no such page")])
def test_something_else_than_a_dashboard_is_told(answer: Answer) -> None:
    with jobs_api(lambda request: answer) as api, pytest.raises(ClusterError, match=api.address):
        service(api).submit(PACKAGE, "nightly-1")


def test_a_job_that_is_told_in_another_language_than_json_is_told() -> None:
    with jobs_api(lambda request: (200, b"<html>")) as api, pytest.raises(ClusterError, match="no JSON"):
        service(api).info("nightly-1")


def test_an_old_ray_is_told_before_it_is_asked_for_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the-token")
    old = {"/api/version": (200, {"ray_version": "2.9.0"})}
    with (
        jobs_api(lambda request: old.get(request.path, (404, b"no such page"))) as api,
        pytest.raises(ClusterError, match=r"the cluster has Ray 2\.9\.0"),
    ):
        RayJobs(RayProfile(kind="ray", address=api.address)).submit(PACKAGE, "nightly-1")


def test_the_entrypoint_is_one_process_that_no_file_of_the_job_can_confuse() -> None:
    package = JobPackage(name="n", files={}, arguments=("run", "a b.yaml"), output="")
    assert entrypoint(package) == "cd job && exec python -P -m vision_batch run 'a b.yaml' --address auto"


def test_jobs_of_others_are_not_listed() -> None:
    cluster = Cluster()
    cluster.jobs = {
        "theirs": JOB | {"submission_id": "theirs", "metadata": {}},
        "a-driver": JOB | {"type": "DRIVER", "submission_id": None},
        "later": JOB | {"submission_id": "later", "start_time": JOB["start_time"] + 1},
        "ours": JOB | {"submission_id": "ours"},
    }
    with jobs_api(cluster) as api:
        assert [info.job_id for info in service(api).list()] == ["ours", "later"]


def test_a_job_that_nobody_knows() -> None:
    with jobs_api(Cluster()) as api:
        for asked in (service(api).info, service(api).stop, lambda job: list(service(api).logs(job, follow=True))):
            with pytest.raises(ClusterError, match="no job none; `vision-batch list` shows"):
                asked("none")


def test_a_job_that_ended_can_be_forgotten() -> None:
    cluster = Cluster()
    cluster.jobs["nightly-1"] = JOB
    with jobs_api(cluster) as api:
        with pytest.raises(ClusterError, match="non-terminal"):
            service(api).forget("nightly-1")
        cluster.jobs["nightly-1"] = JOB | {"status": "SUCCEEDED"}
        for _ in range(2):
            service(api).forget("nightly-1")
            assert service(api).list() == []


def test_a_job_is_told_as_it_is() -> None:
    info = job_info(JOB)
    assert (info.job_id, info.name, info.state, info.output) == ("nightly-1", "nightly", "running", "s3://b/out")
    assert info.submitted == datetime.fromtimestamp(1_795_000_000, UTC)
    assert (info.exit_code, info.message, info.ended) == (None, "", None)


@pytest.mark.parametrize(
    ("status", "code", "state", "said"),
    [
        ("PENDING", None, "pending", "Waiting for it."),
        ("SUCCEEDED", 0, "done", "done (exit code 0)"),
        ("FAILED", 3, "failed", "every image has its row, but more failed"),
        ("FAILED", 4, "failed", "incomplete"),
        ("FAILED", 130, "failed", "stopped; what was whole is committed"),
        ("FAILED", -9, "failed", "killed by signal 9"),
        ("FAILED", None, "failed", "Waiting for it."),
        ("STOPPED", None, "stopped", "stopped; what was whole is committed"),
    ],
)
def test_how_a_job_ended_is_said_in_our_words(status: str, code: int | None, state: str, said: str) -> None:
    info = job_info(JOB | {"status": status, "driver_exit_code": code, "message": "Waiting for\n  it."})
    assert (info.state, info.exit_code) == (state, code)
    assert info.message.startswith(said)


@pytest.mark.parametrize(
    ("code", "log", "said"),
    [
        (2, "error: one\nerror: output.uri: found x\n{}\n", "(exit code 2): output.uri: found x"),
        (127, "sh: 1: python: not found\n\n", "ended for an unknown reason (exit code 127): sh: 1: python: not found"),
        (4, "error: one\n", "(exit code 4)"),
        (1, "", "(exit code 1)"),
        (-9, "error: one\n", "run again to resume"),
    ],
)
def test_the_end_of_the_log_says_what_was_wrong(code: int, log: str, said: str) -> None:
    message = job_info(JOB | {"status": "FAILED", "driver_exit_code": code, "message": log}).message
    assert message.endswith(said)


class Log:
    """The log of a job that ends after the last of `stages`."""

    def __init__(self, *stages: str) -> None:
        self.stages = list(stages)

    def __call__(self, request: Request) -> Answer:
        if request.path.endswith("/logs"):
            return 200, {"logs": self.stages.pop(0) if len(self.stages) > 1 else self.stages[0]}
        return 200, JOB | {"status": "RUNNING" if len(self.stages) > 1 else "SUCCEEDED", "driver_exit_code": 0}


def test_a_log_is_followed_line_by_line_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.cluster.ray_jobs.FOLLOW_S", 0.0)
    with jobs_api(Log("one\ntw", "one\ntwo\n", "one\ntwo\n", "one\ntwo\n\nthree")) as api:
        assert list(service(api).logs("nightly-1", follow=True)) == ["one", "two", "", "three"]


def test_a_log_is_shown_as_far_as_it_is() -> None:
    with jobs_api(Log("one\ntw", "")) as api:
        assert list(service(api).logs("nightly-1", follow=False)) == ["one", "tw"]


@pytest.mark.parametrize(("auth", "mode"), [("token", "token"), ("none", "token"), ("none", "disabled")])
def test_a_cluster_that_has_what_the_profile_says(auth: Literal["token", "none"], mode: str) -> None:
    with jobs_api(Cluster(auth=mode)) as api:
        RayJobs(RayProfile(kind="ray", address=api.address, auth=auth)).submit(PACKAGE, "nightly-1")
        driver = posted(api)["runtime_env"]["env_vars"].get("RAY_AUTH_MODE")
        assert driver == (None if auth == "token" else "disabled")
        authorizations = {request.headers.get("authorization") for request in api.requests}
        assert authorizations == {f"Bearer {os.environ['RAY_AUTH_TOKEN']}" if auth == "token" else None}


def test_a_cluster_that_lets_anybody_in_is_refused_before_anything_is_sent() -> None:
    with jobs_api(Cluster(auth="disabled")) as api:
        jobs = RayJobs(RayProfile(kind="ray", address=api.address))
        with pytest.raises(
            ClusterError, match="the cluster lets anybody in, without a token; start it with RAY_AUTH_MODE"
        ):
            jobs.submit(PACKAGE, "nightly-1")
        assert not api.asked("PUT")


def test_a_token_is_demanded_unless_the_profile_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    with pytest.raises(SpecError, match="RAY_AUTH_TOKEN: found no token"):
        RayJobs(RayProfile(kind="ray", address="http://127.0.0.1:1"))


def test_a_token_that_is_replaced_is_taken_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    file.write_text("first")
    with jobs_api(Cluster()) as api:
        jobs = RayJobs(RayProfile(kind="ray", address=api.address))
        jobs.list()
        file.write_text("second\n")
        jobs.list()
        file.unlink()
        with pytest.raises(ClusterError, match=r"RAY_AUTH_TOKEN_PATH: found .*token: No such file"):
            jobs.list()
    assert [request.headers.get("authorization") for request in api.requests] == ["Bearer first", "Bearer second"]
