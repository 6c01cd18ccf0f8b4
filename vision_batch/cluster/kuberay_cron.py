"""A spec's schedule as Kubernetes keeps it, without a service of ours.

A CronJob makes a small pod at each time, which makes that time's RayJob and stays until it has ended
(`kuberay_night.py`): so the CronJob's own rules for overlap and history hold for RayJobs too, and what it takes away
takes its RayJob along.
"""

from __future__ import annotations

import json
from typing import Any

from vision_batch.cluster.kuberay_night import EXIT_FAILED, NIGHT_KEY
from vision_batch.cluster.kuberay_pods import JOB_FOLDER, small_container, small_pod
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.manifest import (
    API_VERSION,
    LONGEST_NAME,
    SCHEDULE_LABEL,
    Manifest,
    config_map,
    digest,
    labels,
    object_name,
    ray_job,
    ray_job_spec,
)
from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.schedule.policy import ON_TIME
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.errors import Problem, SpecError

CONCURRENCY = {"skip": "Forbid", "replace": "Replace", "queue": "Allow"}
"""With `Allow` the pods of later times are there and wait for the earlier ones' RayJobs."""

LATE_S = {"latest": 7 * 86400, "none": int(ON_TIME.total_seconds())}
"""By how much a time may be missed and is still made up for (`startingDeadlineSeconds`)."""

POD_RETRIES = 20
"""Of the small pod, which may be evicted or find the API away; the RayJob does not notice."""


def cron_job_manifests(profile: KubeRayProfile, package: JobPackage, schedule: ScheduleSettings) -> list[Manifest]:
    """All that is applied for a schedule. SpecError for what Kubernetes has no way to do."""
    _demand_catch_up(schedule)
    name = object_name(package.name, longest=LONGEST_NAME)
    files = _files_name(profile, package, schedule, name)
    night = {"overlap": schedule.overlap, "ray_job": _template(profile, package, schedule, name, files)}
    account = f"{name}-schedule"  # a name of its own: a spec may be called `default`, as every namespace's account is
    return [
        config_map(profile, package, files, {NIGHT_KEY: json.dumps(night, indent=2)}),
        *_rights(profile, account),
        _cron_job(profile, schedule, name, _night_pod(profile, account, files)),
    ]


def ray_cron_job_manifests(profile: KubeRayProfile, package: JobPackage, schedule: ScheduleSettings) -> list[Manifest]:
    """The same by KubeRay's own RayCronJob, an alpha. SpecError for what that leaves out."""
    _demand_catch_up(schedule)
    problems = []
    if schedule.overlap != "skip":
        expected = "skip, which the output's lease sees to, or no --ray-cron-job"
        problems.append(Problem("schedule.overlap", repr(schedule.overlap), expected))
    if profile.queue:
        expected = "none, for its jobs have no labels of ours, or no --ray-cron-job"
        problems.append(Problem("queue of the profile", repr(profile.queue), expected))
    if any(place in data for data in package.files.values() for place in (b"{date}", b"{scheduled_time}")):
        expected = "URIs that stay, for its jobs know no time, or no --ray-cron-job"
        problems.append(Problem("the spec", "{date} or {scheduled_time}", expected))
    if problems:
        raise SpecError(problems)
    name = object_name(package.name, longest=LONGEST_NAME)
    files = _files_name(profile, package, schedule, name)
    spec = {
        "schedule": schedule.cron,
        "timeZone": schedule.timezone,
        "jobTemplate": _job_spec(profile, package, schedule, files),
    }
    metadata = {"name": name, "namespace": profile.namespace, "labels": labels()}
    cron_job = {"apiVersion": API_VERSION, "kind": "RayCronJob", "metadata": metadata, "spec": spec}
    return [config_map(profile, package, files), cron_job]


def _demand_catch_up(schedule: ScheduleSettings) -> None:
    if schedule.catch_up == "all":
        expected = "latest or none in Kubernetes, which makes up for one missed time at most"
        raise SpecError(Problem("schedule.catch_up", "'all'", expected))


def _files_name(profile: KubeRayProfile, package: JobPackage, schedule: ScheduleSettings, name: str) -> str:
    """Of the ConfigMap: changed with all that it holds, so that a run that goes on keeps what it began with."""
    job = _template(profile, package, schedule, name, "")
    return f"{name}-{digest([package.digest, schedule.overlap, job])}"


def _job_spec(profile: KubeRayProfile, package: JobPackage, schedule: ScheduleSettings, files: str) -> dict[str, Any]:
    return ray_job_spec(profile, package, files=files, retries=schedule.retries.limit, deadline=schedule.longest)


def _template(
    profile: KubeRayProfile, package: JobPackage, schedule: ScheduleSettings, name: str, files: str
) -> Manifest:
    """A RayJob but for its time."""
    job = ray_job(profile, package, name=name, job_id=package.name, files=files)
    job["metadata"]["labels"][SCHEDULE_LABEL] = name
    return job | {"spec": _job_spec(profile, package, schedule, files)}


def _rights(profile: KubeRayProfile, name: str) -> list[Manifest]:
    """Of the small pod: to make RayJobs and to look at them and at its own kind. It changes and removes nothing."""
    metadata = {"name": name, "namespace": profile.namespace, "labels": labels()}
    rules = [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get", "list"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"]},
    ]
    api = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
            "automountServiceAccountToken": False,
        },
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": profile.namespace}],
        },
    ]


def _cron_job(profile: KubeRayProfile, schedule: ScheduleSettings, name: str, pod: dict[str, Any]) -> Manifest:
    metadata = {"labels": labels() | {SCHEDULE_LABEL: name}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": profile.namespace, "labels": labels()},
        "spec": {
            "schedule": schedule.cron,
            "timeZone": schedule.timezone,
            "concurrencyPolicy": CONCURRENCY[schedule.overlap],
            "startingDeadlineSeconds": LATE_S[schedule.catch_up],
            "successfulJobsHistoryLimit": profile.history,
            "failedJobsHistoryLimit": profile.history,
            "jobTemplate": {
                "metadata": metadata,
                "spec": {
                    "backoffLimit": POD_RETRIES,
                    "podFailurePolicy": {"rules": _failure_rules()},
                    "template": {"metadata": metadata, "spec": pod},
                },
            },
        },
    }


def _failure_rules() -> list[dict[str, Any]]:
    """A pod that was evicted is made again, and does not count; a RayJob that failed is not tried again here."""
    evicted = [{"type": "DisruptionTarget", "status": "True"}]
    failed = {"containerName": "night", "operator": "In", "values": [EXIT_FAILED]}
    return [{"action": "Ignore", "onPodConditions": evicted}, {"action": "FailJob", "onExitCodes": failed}]


def _night_pod(profile: KubeRayProfile, account: str, files: str) -> dict[str, Any]:
    container = small_container(profile, "night", {"cpu": "50m", "memory": "128Mi"}, {"cpu": "1", "memory": "512Mi"})
    path = f"{JOB_FOLDER}/{NIGHT_KEY}"
    container["command"] = ["python", "-m", "vision_batch.cluster.kuberay_night", path, "$(JOB)"]
    job = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    container["env"] = [*container["env"], {"name": "JOB", "valueFrom": job}]
    container["volumeMounts"] = [
        *container["volumeMounts"],
        {"name": "job", "mountPath": path, "subPath": NIGHT_KEY, "readOnly": True},
    ]
    spec = small_pod(profile, container, restart="Never")
    spec["volumes"].append({"name": "job", "configMap": {"name": files}})
    return spec | {"serviceAccountName": account, "automountServiceAccountToken": True}
