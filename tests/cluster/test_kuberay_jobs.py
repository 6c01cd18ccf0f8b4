"""Jobs in Kubernetes over HTTP: made once however often, told truly, stopped in order, and no trouble is kept quiet."""

from __future__ import annotations

import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kuberay_profiles import GROUP, SMALL, package
from tests.cluster.kubernetes_server import KubernetesServer
from vision_batch.cluster.job import JobInfo
from vision_batch.cluster.kuberay_jobs import KubeRayJobs, job_info, waiting_pods
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.kubernetes_api import KubernetesApi, connect
from vision_batch.cluster.manifest import config_map, job_manifests, ray_job
from vision_batch.cluster.package import JobPackage
from vision_batch.errors import ClusterError, SpecError

JOB = "nightly-20261121T033000Z"
NAME = "nightly-20261121t033000z"


def profile(**change: Any) -> KubeRayProfile:
    return KubeRayProfile.model_validate(SMALL | change)


def jobs(**change: Any) -> KubeRayJobs:
    """The service, with little patience."""
    ours = profile(**change)
    api = connect(ours.namespace, ours.context)
    return KubeRayJobs(ours, KubernetesApi(api._client, ours.namespace, pauses_s=(0.01, 0.01, 0.01)), follow_s=0.02)


@pytest.fixture
def service(kubeconfig: Path) -> KubeRayJobs:
    return jobs()


def become(server: KubernetesServer, **status: Any) -> None:
    """What the operator writes."""
    server.only("rayjobs")["status"] = status


def test_a_job_is_a_ray_job_and_its_files(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    job, files = server.only("rayjobs"), server.only("configmaps")
    assert (job["metadata"]["name"], files["data"]["000-spec.yaml"]) == (NAME, "job: predict\n")
    (owner,) = files["metadata"]["ownerReferences"]
    assert owner["uid"] == job["metadata"]["uid"], "files that nobody takes away with their job"
    assert service.list() == [service.info(JOB)]
    info = service.info(JOB)
    assert (info.job_id, info.name, info.state, info.output) == (JOB, "nightly", "pending", "s3://bucket/labels")
    assert info.submitted is not None
    assert info.submitted.tzinfo is not None


@pytest.mark.parametrize(
    "failures",
    [[], ["lost"], [503, "lost"], [0, "lost"], [0, "reset", 500], [0, 0, "lost"], [0, 0, 0, "lost"], [429, 0, 504]],
)
def test_a_job_that_is_submitted_again_is_the_same_job(
    server: KubernetesServer, service: KubeRayJobs, failures: list[int | str]
) -> None:
    """Whatever request is lost on the way, with or without having been done."""
    server.failures.extend("" if failure == 0 else failure for failure in failures)
    service.submit(package(), JOB)
    service.submit(package(), JOB)
    assert len(server.all("rayjobs")) == len(server.all("configmaps")) == 1


def test_a_submitter_that_died_in_between_is_followed(server: KubernetesServer, service: KubeRayJobs) -> None:
    server.failures.extend(["", 403])
    with pytest.raises(ClusterError):
        service.submit(package(), JOB)
    assert server.all("rayjobs") == []
    service.submit(package(), JOB)
    assert "ownerReferences" in server.only("configmaps")["metadata"]


def test_jobs_of_others_are_not_listed(server: KubernetesServer, service: KubeRayJobs) -> None:
    server.put("rayjobs", "theirs")
    server.put("rayjobs", "apart", labels={"app.kubernetes.io/managed-by": "vision-batch"}, namespace="other")
    assert service.list() == []


def test_the_older_job_is_listed_first(server: KubernetesServer, service: KubeRayJobs) -> None:
    for job_id in ("b-20261121T033000Z", "a-20261122T033000Z"):
        service.submit(package(), job_id)
    assert [info.job_id for info in service.list()] == ["b-20261121T033000Z", "a-20261122T033000Z"]


def test_a_job_that_is_not_there_is_said_to_be_not_there(server: KubernetesServer, service: KubeRayJobs) -> None:
    for call in (service.info, service.stop, lambda job: list(service.logs(job, follow=False))):
        with pytest.raises(ClusterError, match=f"no job {JOB} in the namespace default"):
            call(JOB)


def test_a_ray_job_of_another_is_not_taken_for_ours(server: KubernetesServer, service: KubeRayJobs) -> None:
    server.put("rayjobs", NAME)
    with pytest.raises(ClusterError, match="is not the job"):
        service.submit(package(), JOB)


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ([401], r"401: try again later; log in anew: `kubectl get rayjobs`"),
        ([403], r"403: .*; ask for the right: `kubectl auth can-i --list --namespace default`"),
        ([500] * 4, r"500: try again later"),
        (["reset"] * 20, r"no answer: .*; is the cluster reachable\?"),
        ([418], r"418: "),
    ],
)
def test_trouble_says_what_to_do(
    server: KubernetesServer, service: KubeRayJobs, failures: list[int | str], said: str
) -> None:
    server.failures.extend(failures)
    with pytest.raises(ClusterError, match=said):
        service.list()


def test_a_token_that_does_not_hold_is_refused_at_once(server: KubernetesServer, kubeconfig: Path) -> None:
    with pytest.raises(ClusterError, match="401: Unauthorized"):
        jobs(context="theirs").list()
    assert len(server.requests) == 1


def test_a_cluster_without_the_operator_is_noticed(server: KubernetesServer, service: KubeRayJobs) -> None:
    server.known.remove(("apis/ray.io/v1", "rayjobs"))
    with pytest.raises(ClusterError, match="404: 404 page not found; is there a namespace default, and the oper"):
        service.submit(package(), JOB)
    with pytest.raises(ClusterError, match="the operator that brings rayjobs"):
        service.info(JOB)


def test_what_the_schema_refuses_is_said(server: KubernetesServer, kubeconfig: Path) -> None:
    api = connect("default")
    body = ray_job(profile(), package(), name=NAME, job_id=JOB, files=NAME)
    body["spec"]["ttlSecondsAfterFinished"] = "soon"
    from vision_batch.cluster.kubernetes_api import RAY_JOBS

    with pytest.raises(ClusterError, match=r"422: .*'soon' is not of type 'integer'"):
        api.create(RAY_JOBS, body)


def test_a_client_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(SpecError, match=r"no kubernetes client; expected it: pip install 'vision-batch\[kubernetes\]'"):
        connect("default")


@pytest.mark.parametrize("context", [None, "missing"])
def test_no_kubeconfig_is_the_environments_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, context: str | None
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(SpecError, match="kubeconfig: found"):
        connect("default", context)


@pytest.mark.parametrize(
    ("status", "state", "exit_code", "message"),
    [
        ({}, "pending", None, "waiting for KubeRay"),
        ({"jobDeploymentStatus": "Initializing"}, "pending", None, "waiting for its cluster"),
        ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, "pending", None, "waiting for Ray"),
        ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, "running", None, ""),
        ({"jobDeploymentStatus": "Running", "jobStatus": "FAILED"}, "running", None, "has ended"),
        ({"jobDeploymentStatus": "Retrying", "message": "gone"}, "pending", None, "tries again on a new cluster: gone"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, "done", 0, "done (exit code 0)"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, "stopped", None, "submit it again to resume"),
        ({"jobDeploymentStatus": "Suspended"}, "pending", None, "suspended by somebody"),
        (
            {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "command failed with exit code 130, …"},
            "failed",  # its node was drained: nobody has called `stop`
            130,
            "run again to resume",
        ),
        (
            {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "command failed with exit code 4, …"},
            "failed",
            4,
            "incomplete: some shards could not be read or written",
        ),
        (
            {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": "passed the deadline\nmore"},
            "failed",
            None,
            "passed the deadline",
        ),
        ({"jobDeploymentStatus": "Failed"}, "failed", None, "KubeRay does not say why"),
    ],
)
def test_what_the_operator_says_is_what_we_say(
    status: dict[str, Any], state: str, exit_code: int | None, message: str
) -> None:
    job = ray_job(profile(), package(), name=NAME, job_id=JOB, files=NAME) | {"status": status}
    job["metadata"]["creationTimestamp"] = "2026-11-21T03:30:05Z"
    info = job_info(job)
    assert (info.state, info.exit_code) == (state, exit_code)
    assert message in info.message
    assert "\n" not in info.message


def test_a_job_that_somebody_applied_is_looked_after_too(server: KubernetesServer, service: KubeRayJobs) -> None:
    """What `manifest` prints, with a name that is as long as it may be."""
    long = JobPackage(name="n" * 47, files={}, arguments=("run", "spec.yaml"), output="s3://bucket/labels")
    job = job_manifests(profile(), long)[1]
    server.store("rayjobs", "default", job)
    assert service.info(long.name).name == long.name


def test_when_a_job_ended_is_known(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    become(server, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", endTime="2026-11-21T04:00:00Z")
    info = service.info(JOB)
    assert info.ended is not None
    assert info.ended.isoformat() == "2026-11-21T04:00:00+00:00"


def test_a_job_that_waits_for_gpus_says_so(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    become(server, jobDeploymentStatus="Initializing", rayClusterName="c")
    said = "0/5 nodes are available: 5 Insufficient nvidia.com/gpu."
    waits = [{"type": "PodScheduled", "status": "False", "message": said}]
    for name in ("c-1", "c-2"):
        server.put("pods", name, labels={"ray.io/cluster": "c", "ray.io/group": "gpu"}, status={"conditions": waits})
    info = service.info(JOB)
    assert (info.state, info.message) == ("pending", f"waiting for its cluster: no node for group gpu: {said}")


def test_an_image_that_cannot_be_had_is_said() -> None:
    waits = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
    creating = {"state": {"waiting": {"reason": "ContainerCreating"}}}
    pod = {"metadata": {"labels": {"ray.io/node-type": "head"}}, "status": {"containerStatuses": [waits, creating]}}
    assert waiting_pods([pod]) == "the head: ImagePullBackOff: not found"


def test_a_queued_job_waits_in_its_queue(server: KubernetesServer, kubeconfig: Path) -> None:
    service = jobs(queue="vision")
    service.submit(package(), JOB)
    assert service.info(JOB).message == "waiting in the queue vision of Kueue"
    become(server, jobDeploymentStatus="Suspended")
    assert service.info(JOB).state == "pending"


def states(server: KubernetesServer, service: KubeRayJobs, *steps: dict[str, Any]) -> list[JobInfo]:
    found = []
    for step in steps:
        become(server, **step)
        found.append(service.info(JOB))
    return found


def test_a_job_is_stopped_by_taking_its_cluster_away(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    become(server, jobDeploymentStatus="Running", jobStatus="RUNNING")
    service.stop(JOB)
    assert server.only("rayjobs")["spec"]["suspend"] is True
    running = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    first, second, last = states(
        server, service, running, {"jobDeploymentStatus": "Suspending"}, {"jobDeploymentStatus": "Suspended"}
    )
    assert (first.state, first.message) == (second.state, second.message) == ("running", "is being stopped")
    assert (last.state, last.message) == ("stopped", "stopped; submit it again to resume")
    assert last.ended is not None


def test_a_driver_that_ended_in_order_meanwhile_was_stopped(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    service.stop(JOB)
    message = "Job entrypoint command failed with exit code 130, last available logs"
    (info,) = states(server, service, {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": message})
    assert (info.state, info.exit_code) == ("stopped", 130)


def test_a_job_that_has_not_begun_is_stopped_at_once(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    service.stop(JOB)
    assert service.info(JOB).state == "stopped"


def test_a_job_that_ended_stays_as_it_is(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    become(server, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", endTime="2026-11-21T04:00:00Z")
    service.stop(JOB)
    assert "suspend" not in server.only("rayjobs")["spec"]
    assert service.info(JOB).state == "done"


def test_a_job_that_ended_can_be_forgotten(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    with pytest.raises(ClusterError, match="is pending"):
        service.forget(JOB)
    become(server, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", endTime="2026-11-21T04:00:00Z")
    for _ in range(2):
        service.forget(JOB)
        assert service.list() == []


def test_a_queued_job_is_stopped_through_kueue(server: KubernetesServer, kubeconfig: Path) -> None:
    """Who suspends a job that Kueue admitted sees it begin again."""
    service = jobs(queue="vision", groups=[GROUP])
    service.submit(package(), JOB)
    uid = server.only("rayjobs")["metadata"]["uid"]
    server.only("rayjobs")["spec"]["suspend"] = False
    become(server, jobDeploymentStatus="Running", jobStatus="RUNNING")
    server.put("workloads", "rayjob-nightly", labels={"kueue.x-k8s.io/job-uid": uid}, spec={"active": True})
    server.put("workloads", "another", labels={"kueue.x-k8s.io/job-uid": "x"}, spec={"active": True})
    service.stop(JOB)
    active = {found["metadata"]["name"]: found["spec"]["active"] for found in server.all("workloads")}
    assert active == {"rayjob-nightly": False, "another": True}
    assert server.only("rayjobs")["spec"]["suspend"] is False
    become(server, jobDeploymentStatus="Suspended")
    assert service.info(JOB).state == "stopped"


def test_the_log_is_that_of_the_newest_submitter(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    assert list(service.logs(JOB, follow=False)) == []
    server.put("pods", f"{NAME}-old", labels={"job-name": NAME})
    server.put("pods", f"{NAME}-new", labels={"job-name": NAME})
    assert list(service.logs(JOB, follow=False)) == [], "a container that waits to start has no log"
    server.logs = {f"{NAME}-old": ["no"], f"{NAME}-new": ["a", "", "b ü"]}
    assert list(service.logs(JOB, follow=False)) == ["a", "", "b ü"]


def test_a_log_is_followed_through_lost_connections_until_the_job_has_ended(
    server: KubernetesServer, service: KubeRayJobs
) -> None:
    service.submit(package(), JOB)
    become(server, jobDeploymentStatus="Running", jobStatus="RUNNING")
    server.make_follow(f"{NAME}-x", ["a", "b", "cut"])
    lines = service.logs(JOB, follow=True)
    assert list(islice(lines, 2)) == ["a", "b"]
    server.logs[f"{NAME}-x"] = ["a", "b", "c"]
    assert next(lines) == "c"
    server.logs[f"{NAME}-x"].append("d")
    become(server, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", endTime="2026-11-21T04:00:00Z")
    threading.Timer(0.1, server.followed.set).start()
    assert list(lines) == ["d"]


def test_a_log_begins_when_the_job_does(server: KubernetesServer, service: KubeRayJobs) -> None:
    service.submit(package(), JOB)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(service.logs(JOB, follow=True)))
    reader.start()
    time.sleep(0.1)
    server.followed.set()
    server.make_follow(f"{NAME}-x", ["hello"])
    become(server, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", endTime="2026-11-21T04:00:00Z")
    reader.join(timeout=10)
    assert found == ["hello"]


def test_files_that_are_too_large_are_refused_before_anything_is_made(
    server: KubernetesServer, service: KubeRayJobs
) -> None:
    with pytest.raises(SpecError, match="what is larger belongs into the image"):
        service.submit(package(**{"a.py": b"#" * (1 << 20)}), JOB)
    assert server.requests == []
    assert config_map(profile(), package(), "x")["immutable"]
