"""Jobs in Kubernetes: each is a RayJob of KubeRay, which makes a Ray cluster for it and takes it away again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from vision_batch.cluster.job import ENDED, JobInfo, JobState, meaning_of_exit, state_of_exit
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.kubernetes_api import CONFIG_MAPS, PODS, RAY_JOBS, WORKLOADS, KubernetesApi, Object
from vision_batch.cluster.manifest import (
    API_VERSION,
    JOB_ID,
    MANAGED_BY,
    NAME,
    OUTPUT,
    QUEUE_LABEL,
    config_map,
    object_name,
    ray_job,
)
from vision_batch.cluster.package import JobPackage
from vision_batch.errors import ClusterError

STOP = "vision-batch/stop"
"""The annotation that a job has when it was asked to stop; its value is when."""
FOLLOW_S = 2.0
"""How often is looked for a pod that is to write a log."""
MESSAGE_CHARACTERS = 500
RAY_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class KubeRayJobs:
    """The JobService of a `kuberay` profile."""

    def __init__(self, profile: KubeRayProfile, api: KubernetesApi, *, follow_s: float = FOLLOW_S) -> None:
        self._profile = profile
        self._api = api
        self._follow_s = follow_s

    def submit(self, package: JobPackage, job_id: str) -> None:
        name = object_name(job_id)
        files = config_map(self._profile, package, name)
        body = ray_job(self._profile, package, name=name, job_id=job_id, files=name)
        # The files first: a submitter that dies in between leaves no cluster that waits for them.
        self._api.create(CONFIG_MAPS, files)
        self._api.create(RAY_JOBS, body)
        job = self._job(job_id)
        owner = {"apiVersion": API_VERSION, "kind": "RayJob", "name": name, "uid": job["metadata"]["uid"]}
        self._api.patch(CONFIG_MAPS, name, {"metadata": {"ownerReferences": [owner]}})

    def list(self) -> list[JobInfo]:
        jobs = [
            job for job in self._api.select(RAY_JOBS, MANAGED_BY) if JOB_ID in job["metadata"].get("annotations", {})
        ]
        return [job_info(job) for job in sorted(jobs, key=lambda job: str(job["metadata"]["creationTimestamp"]))]

    def info(self, job_id: str) -> JobInfo:
        job = self._job(job_id)
        cluster = job.get("status", {}).get("rayClusterName")
        info = job_info(job)
        pods = self._api.select(PODS, {"ray.io/cluster": cluster}) if info.state == "pending" and cluster else []
        return job_info(job, waiting_pods(pods))

    def logs(self, job_id: str, *, follow: bool) -> Iterator[str]:
        shown: dict[str, int] = {}
        while True:
            has_ended = self.info(job_id).state in ENDED
            pod = self._submitter(job_id)
            if pod is not None:
                yield from self._unseen(pod, shown, follow=follow and not has_ended)
            if has_ended or not follow:
                return
            time.sleep(self._follow_s)

    def stop(self, job_id: str) -> None:
        """The cluster is taken away. Its head's pod first asks the driver to end in order, and waits for that."""
        job = self._job(job_id)
        if job_info(job).state in ENDED:
            return
        name, queued = job["metadata"]["name"], QUEUE_LABEL in job["metadata"]["labels"]
        mark = {"metadata": {"annotations": {STOP: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}}}
        # Kueue would begin again what others suspend: it is asked to do it, by what it keeps of the job.
        self._api.patch(RAY_JOBS, name, mark if queued else mark | {"spec": {"suspend": True}})
        if queued:
            for workload in self._api.select(WORKLOADS, {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}):
                self._api.patch(WORKLOADS, workload["metadata"]["name"], {"spec": {"active": False}})

    def forget(self, job_id: str) -> None:
        name = object_name(job_id)
        if self._api.find(RAY_JOBS, name) is None:
            return
        state = job_info(self._job(job_id)).state
        if state not in ENDED:
            raise ClusterError(f"{job_id} is {state}: only what has ended can be removed")
        self._api.delete(RAY_JOBS, name)

    def _job(self, job_id: str) -> Object:
        name = object_name(job_id)
        job = self._api.find(RAY_JOBS, name)
        if job is None:
            raise ClusterError(f"no job {job_id} in the namespace {self._api.namespace}; `vision-batch list` shows all")
        if job["metadata"].get("annotations", {}).get(JOB_ID) != job_id:
            raise ClusterError(f"the RayJob {name} in the namespace {self._api.namespace} is not the job {job_id}")
        return job

    def _submitter(self, job_id: str) -> str | None:
        """The newest pod that writes the driver's log; none before there is a cluster and when it was stopped."""
        pods = self._api.select(PODS, {"job-name": object_name(job_id)})
        newest = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)
        return None if newest is None else str(newest["metadata"]["name"])

    def _unseen(self, pod: str, shown: dict[str, int], *, follow: bool) -> Iterator[str]:
        """The lines of a pod's log after those that were `shown`, which is kept up to date."""
        seen = shown.setdefault(pod, 0)
        try:
            for number, line in enumerate(self._api.log(pod, follow=follow), 1):
                if number > seen:
                    shown[pod] = number
                    yield line
        except ClusterError:
            if not follow:  # else it is asked for again, and refused for good if that is what it is
                raise


def job_info(job: Object, waiting: str = "") -> JobInfo:
    """What a RayJob says of itself. `waiting` is what its pods wait for."""
    metadata, status = job["metadata"], job.get("status", {})
    annotations = metadata.get("annotations", {})
    state, exit_code, message = _state(job, waiting)
    ended = status.get("endTime") or (annotations.get(STOP) if state == "stopped" else None)
    return JobInfo(
        job_id=annotations.get(JOB_ID, metadata["name"]),
        name=annotations.get(NAME, metadata["name"]),
        state=state,
        exit_code=exit_code,
        message=message[:MESSAGE_CHARACTERS],
        submitted=_time(metadata["creationTimestamp"]),
        ended=_time(ended) if ended and state in ENDED else None,
        output=annotations.get(OUTPUT),
    )


def waiting_pods(pods: list[Object]) -> str:
    """What the pods of a cluster wait for, in Kubernetes' own words, each once."""
    said: dict[str, None] = {}
    for pod in pods:
        status = pod.get("status", {})
        for condition in status.get("conditions", []):
            if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
                said[f"no node for {_group(pod)}: {condition.get('message', 'not scheduled')}"] = None
        for container in status.get("containerStatuses", []):
            waits = container.get("state", {}).get("waiting", {})
            if waits.get("reason", "ContainerCreating") not in ("ContainerCreating", "PodInitializing"):
                said[f"{_group(pod)}: {waits['reason']}: {waits.get('message', '')}".rstrip(": ")] = None
    return "; ".join(said)


def _state(job: Object, waiting: str) -> tuple[JobState, int | None, str]:
    """State, exit code and message."""
    status: dict[str, Any] = job.get("status", {})
    deployment, ray = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    stopping = STOP in job["metadata"].get("annotations", {})
    said = status.get("message") or status.get("reason") or ""
    match deployment:
        case "Complete" if ray == "SUCCEEDED":
            return "done", 0, meaning_of_exit(0)
        case "Complete" | "Failed" | "ValidationFailed":
            return _ended(ray, said, stopping)
        case "Suspended" | "" if stopping:
            return "stopped", None, "stopped; submit it again to resume"
        case "Running" | "Suspending" if stopping:
            return "running", None, "is being stopped"
        case "Running" if ray in ("RUNNING", *RAY_ENDED):
            return "running", None, "" if ray == "RUNNING" else "has ended; KubeRay takes note"
        case "Running":
            return "pending", None, waiting or "waiting for Ray to start the driver"
        case "Retrying":
            return "pending", None, f"tries again on a new cluster: {_first_line(said)}".rstrip(": ")
        case "Initializing":
            return "pending", None, f"waiting for its cluster: {waiting}" if waiting else "waiting for its cluster"
    queue = job["metadata"]["labels"].get(QUEUE_LABEL)
    if queue:
        return "pending", None, f"waiting in the queue {queue} of Kueue"
    return "pending", None, "suspended by somebody" if deployment.startswith("Suspend") else "waiting for KubeRay"


def _ended(ray: str, said: str, stopping: bool) -> tuple[JobState, int | None, str]:
    code = re.search(r"exit code (-?\d+)", said)
    if code:
        return (
            state_of_exit(int(code[1]), asked=stopping or ray == "STOPPED"),
            int(code[1]),
            meaning_of_exit(int(code[1])),
        )
    if stopping or ray == "STOPPED":
        return "stopped", None, "stopped; submit it again to resume"
    return "failed", None, _first_line(said) or "failed, and KubeRay does not say why"


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _group(pod: Object) -> str:
    labels = pod["metadata"].get("labels", {})
    return "the head" if labels.get("ray.io/node-type") == "head" else f"group {labels.get('ray.io/group', '?')}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
