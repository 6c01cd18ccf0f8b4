"""A time of a schedule makes one RayJob, however many pods come and go, and at the right time beside others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.kuberay_profiles import SMALL, package
from tests.cluster.kubernetes_server import TOKEN, KubernetesServer
from vision_batch.cluster.kuberay_cron import cron_job_manifests
from vision_batch.cluster.kuberay_night import (
    EXIT_FAILED,
    NIGHT_KEY,
    SCHEDULED,
    TIMESTAMP,
    OtherRun,
    next_step,
    run_night,
    scheduled_time,
)
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.kubernetes_api import KubernetesApi, connect
from vision_batch.cluster.manifest import SCHEDULE_LABEL
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.errors import ClusterError

MOMENT = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
NAME = "nightly-20261121t023000z"
DONE = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "failed with exit code 1"}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}


@pytest.fixture
def api(kubeconfig: Path) -> KubernetesApi:
    return KubernetesApi(connect("default")._client, "default", pauses_s=(0.01, 0.01))


def manifests(overlap: str = "skip") -> list[dict[str, Any]]:
    schedule = ScheduleSettings.model_validate({"cron": "30 3 * * *", "overlap": overlap})
    return cron_job_manifests(KubeRayProfile.model_validate(SMALL), package(), schedule)


def night(overlap: str = "skip") -> dict[str, Any]:
    """What the pod of a schedule reads."""
    found: dict[str, Any] = json.loads(manifests(overlap)[0]["data"][NIGHT_KEY])
    return found


def right(request: str) -> tuple[str, str]:
    """The resource and the verb that a request to the API takes a right for."""
    method, _, url = request.partition(" ")
    _, resource, *name = urlsplit(url).path.partition("/namespaces/")[2].split("/")
    return resource, {"POST": "create", "GET": "get" if name else "list"}.get(method, method)


def pods_job(server: KubernetesServer, name: str, moment: datetime, **status: Any) -> None:
    """The Job that the CronJob made for `moment`."""
    annotations = {TIMESTAMP: moment.astimezone().isoformat()}
    server.put("jobs", name, labels={SCHEDULE_LABEL: "nightly"}, metadata={"annotations": annotations}, status=status)


def ray_job(server: KubernetesServer, moment: datetime, **status: Any) -> dict[str, Any]:
    """The RayJob of another time."""
    own = {"vision-batch/job-id": f"nightly-{moment:%Y%m%dT%H%M%SZ}", "vision-batch/name": "nightly"}
    annotations = own | {SCHEDULED: moment.isoformat()}
    name = f"nightly-{moment:%Y%m%dt%H%M%Sz}"
    metadata = {"annotations": annotations}
    return server.put("rayjobs", name, labels={SCHEDULE_LABEL: "nightly"}, metadata=metadata, status=status)


def becoming(server: KubernetesServer, *states: Callable[[], Any]) -> Callable[[float], None]:
    """A `sleep` in which something happens in the cluster."""
    left = list(states)
    return lambda seconds: left.pop(0)()


def status(server: KubernetesServer, name: str, found: dict[str, Any]) -> Callable[[], None]:
    return lambda: server.objects["rayjobs", "default", name].update(status=found)


def test_a_night_makes_its_ray_job_and_stays_until_it_has_ended(server: KubernetesServer, api: KubernetesApi) -> None:
    pods_job(server, "nightly-1", MOMENT)
    sleep = becoming(server, status(server, NAME, RUNNING), status(server, NAME, DONE))
    assert run_night(api, night(), "nightly-1", sleep=sleep) == 0
    job = server.only("rayjobs")
    assert job["metadata"]["name"] == NAME
    assert job["metadata"]["annotations"]["vision-batch/job-id"] == "nightly-20261121T023000Z"
    assert job["spec"]["entrypoint"].endswith(" --address auto --scheduled-time 2026-11-21T02:30:00Z")
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Job", server.only("jobs")["metadata"]["uid"])


def test_the_rights_of_the_pod_are_those_that_it_takes(server: KubernetesServer, api: KubernetesApi) -> None:
    pods_job(server, "nightly-1", MOMENT)
    run_night(api, night(), "nightly-1", sleep=becoming(server, status(server, NAME, DONE)))
    role = next(found for found in manifests() if found["kind"] == "Role")
    given = {(rule["resources"][0], verb) for rule in role["rules"] for verb in rule["verbs"]}
    assert {right(request) for request in server.requests} == given


def test_the_output_is_that_of_the_night(server: KubernetesServer, api: KubernetesApi) -> None:
    pods_job(server, "nightly-1", MOMENT)
    ours = night()
    ours["ray_job"]["metadata"]["annotations"]["vision-batch/output"] = "s3://bucket/{date}"
    run_night(api, ours, "nightly-1", sleep=becoming(server, status(server, NAME, DONE)))
    assert server.only("rayjobs")["metadata"]["annotations"]["vision-batch/output"] == "s3://bucket/2026-11-21"


def test_a_night_that_failed_says_so(server: KubernetesServer, api: KubernetesApi) -> None:
    pods_job(server, "nightly-1", MOMENT)
    assert run_night(api, night(), "nightly-1", sleep=becoming(server, status(server, NAME, FAILED))) == EXIT_FAILED


def test_a_ray_job_that_somebody_removed_is_not_made_again(server: KubernetesServer, api: KubernetesApi) -> None:
    pods_job(server, "nightly-1", MOMENT)
    assert run_night(api, night(), "nightly-1", sleep=becoming(server, server.forget("rayjobs"))) == EXIT_FAILED


@pytest.mark.parametrize("failures", [["", "", "", "", "lost"], ["", "reset", 503, "", "", "", "lost"]])
def test_a_pod_that_takes_the_place_of_another_makes_no_second_one(
    server: KubernetesServer, api: KubernetesApi, failures: list[int | str]
) -> None:
    class EvictedError(Exception):
        pass

    def evict(seconds: float) -> None:
        raise EvictedError

    pods_job(server, "nightly-1", MOMENT)
    server.failures.extend(failures)
    for _ in range(3):
        with pytest.raises(EvictedError):
            run_night(api, night(), "nightly-1", sleep=evict)
    assert len(server.all("rayjobs")) == 1
    assert run_night(api, night(), "nightly-1", sleep=becoming(server, status(server, NAME, DONE))) == 0


def test_an_earlier_run_that_goes_on_is_let_be(
    server: KubernetesServer, api: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    pods_job(server, "nightly-2", MOMENT)
    ray_job(server, MOMENT - timedelta(days=1), **RUNNING)
    assert run_night(api, night("skip"), "nightly-2") == 0
    assert len(server.all("rayjobs")) == 1
    assert "2026-11-21T02:30:00Z is left out: an earlier run was still going" in capsys.readouterr().out


@pytest.mark.parametrize("overlap", ["queue", "replace"])
def test_an_earlier_run_is_waited_for(server: KubernetesServer, api: KubernetesApi, overlap: str) -> None:
    pods_job(server, "nightly-2", MOMENT)
    before = ray_job(server, MOMENT - timedelta(days=1), **RUNNING)["metadata"]["name"]
    seen: list[int] = []

    def earlier_ends() -> None:
        seen.append(len(server.all("rayjobs")))
        status(server, before, DONE)()

    sleep = becoming(server, earlier_ends, status(server, NAME, DONE))
    assert run_night(api, night(overlap), "nightly-2", sleep=sleep) == 0
    assert (seen, len(server.all("rayjobs"))) == ([1], 2)


def test_times_that_wait_go_one_after_the_other(server: KubernetesServer, api: KubernetesApi) -> None:
    """The one before has no RayJob yet: its Job says that it is there."""
    pods_job(server, "nightly-1", MOMENT - timedelta(days=1))
    pods_job(server, "nightly-2", MOMENT)

    def first_ends() -> None:
        assert server.all("rayjobs") == []
        ended = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-21T03:00:00Z"}
        server.objects["jobs", "default", "nightly-1"]["status"] = {"conditions": [ended]}

    sleep = becoming(server, first_ends, status(server, NAME, DONE))
    assert run_night(api, night("queue"), "nightly-2", sleep=sleep) == 0


def test_a_time_that_was_left_out_is_not_made_up_for_when_the_run_before_ends(
    server: KubernetesServer, api: KubernetesApi
) -> None:
    """Kubernetes begins it then, within its deadline, for it was missed."""
    pods_job(server, "nightly-2", MOMENT)
    ray_job(server, MOMENT - timedelta(days=1), **DONE, endTime=(MOMENT + timedelta(hours=3)).isoformat())
    assert run_night(api, night("skip"), "nightly-2") == 0
    assert len(server.all("rayjobs")) == 1


def test_a_pod_without_its_job_is_an_error(server: KubernetesServer, api: KubernetesApi) -> None:
    with pytest.raises(ClusterError, match="no Job nightly-1"):
        run_night(api, night(), "nightly-1")


def test_the_time_is_kubernetes_or_when_somebody_made_the_job() -> None:
    made = {"creationTimestamp": "2026-11-21T09:00:00Z"}
    timed = made | {"annotations": {TIMESTAMP: "2026-11-21T03:30:00+01:00"}}
    assert scheduled_time({"metadata": timed}) == MOMENT
    assert scheduled_time({"metadata": made}) == datetime(2026, 11, 21, 9, tzinfo=UTC)


times = st.integers(0, 5).map(lambda hours: MOMENT + timedelta(hours=hours))
runs = st.builds(
    lambda at, took: OtherRun(scheduled=at, ended=took and at + took),
    times,
    st.none() | st.timedeltas(timedelta(minutes=1), timedelta(hours=4)),
)


@given(st.sampled_from(["skip", "queue", "replace"]), times, st.lists(runs, max_size=4))
def test_two_runs_never_go_at_once(overlap: Any, moment: datetime, others: list[OtherRun]) -> None:
    step = next_step(overlap, moment, others)
    going = any(other.scheduled < moment and other.ended is None for other in others)
    assert (step == "create") <= (not going)
    assert (step == "wait") <= (overlap != "skip")
    assert (step == "skip") <= (overlap == "skip")


def test_the_program_of_the_pod_ends_at_once_when_it_is_told_to(
    server: KubernetesServer, kubeconfig: Path, tmp_path: Path
) -> None:
    pods_job(server, "nightly-1", MOMENT)
    path = tmp_path / NIGHT_KEY
    path.write_text(json.dumps(night()))
    command = [sys.executable, "-m", "vision_batch.cluster.kuberay_night", str(path), "nightly-1"]
    environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "nightly-20261121T023000Z: pending waiting for KubeRay\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 128 + signal.SIGTERM
    assert TOKEN not in json.dumps(server.only("rayjobs"))
