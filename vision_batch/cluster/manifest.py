"""What Kubernetes is given for a job: a RayJob of KubeRay, and a ConfigMap with the job's files.

Pure functions from a profile and a package to plain values, in the form of Kubernetes' own API.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from vision_batch.cluster.kuberay_pods import (
    JOB_FOLDER,
    autoscaler_options,
    head_template,
    pod_labels,
    submitter_template,
    worker_template,
)
from vision_batch.cluster.kuberay_profile import GroupSettings, KubeRayProfile
from vision_batch.cluster.package import JobPackage
from vision_batch.errors import Problem, SpecError

Manifest = dict[str, Any]

API_VERSION = "ray.io/v1"
MANAGED_BY = {"app.kubernetes.io/managed-by": "vision-batch"}
"""The label by which jobs are listed."""
SCHEDULE_LABEL = "vision-batch/schedule"
JOB_ID = "vision-batch/job-id"
NAME = "vision-batch/name"
OUTPUT = "vision-batch/output"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

LONGEST_JOB_NAME = 47
"""Of a RayJob: KubeRay appends to it until it is the name of a service (`MaxRayJobNameLength` of its `constant.go`)."""
TIME_CHARACTERS = len("-20261121t033000z")
LONGEST_NAME = LONGEST_JOB_NAME - TIME_CHARACTERS
"""Of a schedule: its jobs' names end with their time."""
LARGEST_CONFIG_MAP_BYTES = 1 << 20

_TIME = re.compile(r"-[0-9]{8}T[0-9]{6}Z(-[0-9a-f]{1,8})?$")
"""How the id of a job ends, `job.new_job_id`."""


def object_name(text: str, *, longest: int = LONGEST_JOB_NAME) -> str:
    """`text` as a name that Kubernetes takes (RFC 1035): unchanged where it is one, but for the letters of a time.

    What has to change otherwise gets a digest of the text, so that two texts are two names.
    """
    time = _TIME.search(text)
    end = time[0].lower() if time else ""
    start = text[: len(text) - len(end)]
    if re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", start) and len(start) + len(end) <= longest:
        return start + end
    words = re.sub(r"[^a-z0-9]+", "-", start.lower()).strip("-")
    mark = f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}{end}"
    return f"j-{words}"[: longest - len(mark)].rstrip("-") + mark


def job_manifests(profile: KubeRayProfile, package: JobPackage) -> list[Manifest]:
    """All that is applied for one run of a job, which is called after it. SpecError as for `config_map`."""
    name = object_name(package.name)
    files = f"{name}-{package.digest[:8]}"
    return [
        config_map(profile, package, files),
        ray_job(profile, package, name=name, job_id=package.name, files=files),
    ]


def config_map(
    profile: KubeRayProfile, package: JobPackage, name: str, more: Mapping[str, str] | None = None
) -> Manifest:
    """The job's files, never changed again, and `more` texts by key. SpecError when Kubernetes takes no such amount."""
    size = sum(map(len, (*package.files.values(), *(more or {}).values())))
    if size > LARGEST_CONFIG_MAP_BYTES:
        found = f"{size:,} bytes of spec and plug-ins ({', '.join(package.files)})"
        expected = f"at most {LARGEST_CONFIG_MAP_BYTES:,}: what is larger belongs into the image"
        raise SpecError(Problem("ConfigMap", found, expected))
    texts = dict(more or {})
    binaries: dict[str, str] = {}
    for path, key in file_keys(package.files).items():
        try:
            texts[key] = package.files[path].decode()
        except UnicodeDecodeError:
            binaries[key] = b64encode(package.files[path]).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": profile.namespace, "labels": labels()},
        "immutable": True,
        "data": texts,
        **({"binaryData": binaries} if binaries else {}),
    }


def ray_job(profile: KubeRayProfile, package: JobPackage, *, name: str, job_id: str, files: str) -> Manifest:
    """The RayJob `name`, whose files are in the ConfigMap `files`."""
    return {
        "apiVersion": API_VERSION,
        "kind": "RayJob",
        "metadata": {
            "name": name,
            "namespace": profile.namespace,
            "labels": labels() | ({QUEUE_LABEL: profile.queue} if profile.queue else {}),
            "annotations": {JOB_ID: job_id, NAME: package.name, OUTPUT: package.output},
        },
        "spec": ray_job_spec(profile, package, files=files),
    }


def ray_job_spec(
    profile: KubeRayProfile,
    package: JobPackage,
    *,
    files: str,
    retries: int | None = None,
    deadline: timedelta | None = None,
) -> dict[str, Any]:
    """What runs the package on a cluster of its own. `retries` and `deadline` are the profile's where they are None."""
    deadline_s = profile.deadline_s if deadline is None else int(deadline.total_seconds())
    retries = profile.retries if retries is None else retries
    return {
        "entrypoint": entrypoint(package.arguments),
        "submissionMode": "K8sJobMode",
        "backoffLimit": retries if package.resumes else 0,
        **({"activeDeadlineSeconds": deadline_s} if deadline_s else {}),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": profile.ttl_s,
        # a job in a queue begins when Kueue says so
        **({"suspend": True} if profile.queue else {}),
        "submitterPodTemplate": submitter_template(profile),
        "rayClusterSpec": ray_cluster_spec(profile, file_keys(package.files), files),
    }


def entrypoint(arguments: tuple[str, ...]) -> str:
    """The line that runs `vision-batch` in the job's folder. SpecError for an argument that cannot be passed on.

    Two shells read it, the submitter's and the driver's, and `ray job submit` in between, which quotes as Windows does
    whatever has spaces or quotes in it, and leaves all else alone.
    """
    for argument in arguments:
        if not re.fullmatch(r"[^\s\"']+", argument):
            raise SpecError(Problem("command line", repr(argument), "an argument without spaces and quotes"))
    command = ["env", f"--chdir={JOB_FOLDER}", "python", "-P", "-m", "vision_batch", *arguments, "--address", "auto"]
    return " ".join(shlex.quote(shlex.quote(word)) for word in command)


def ray_cluster_spec(profile: KubeRayProfile, files: Mapping[str, str], config_map_name: str) -> dict[str, Any]:
    """The Ray cluster of one job. The driver is on the head, which goes last and does no other work."""
    scaling = (
        {"enableInTreeAutoscaling": True, "autoscalerOptions": autoscaler_options()} if profile.autoscaling else {}
    )
    return {
        "rayVersion": profile.ray_version,
        "authOptions": {"mode": "token" if profile.auth == "token" else "disabled"},
        **({"gcsFaultToleranceOptions": _fault_tolerance(profile)} if profile.redis else {}),
        **scaling,
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
            "template": head_template(profile, files, config_map_name),
        },
        "workerGroupSpecs": [_worker_group(profile, group) for group in profile.groups],
    }


def file_keys(files: Mapping[str, bytes]) -> dict[str, str]:
    """Paths to the keys of a ConfigMap, which has no folders."""
    return {
        path: f"{number:03d}-{re.sub(r'[^-._a-zA-Z0-9]', '_', path.rpartition('/')[2])}"
        for number, path in enumerate(sorted(files))
    }


def labels() -> dict[str, str]:
    """What every object of ours has."""
    return pod_labels() | MANAGED_BY


def digest(value: Any) -> str:
    """Eight characters that change when `value` does."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _worker_group(profile: KubeRayProfile, group: GroupSettings) -> dict[str, Any]:
    return {
        "groupName": group.name,
        "replicas": group.min_nodes,
        "minReplicas": group.min_nodes,
        "maxReplicas": group.max_nodes,
        "rayStartParams": {},
        "template": worker_template(profile, group),
    }


def _fault_tolerance(profile: KubeRayProfile) -> dict[str, Any]:
    assert profile.redis is not None
    options: dict[str, Any] = {"redisAddress": profile.redis.address}
    if profile.redis.password:
        reference = {"name": profile.redis.password.secret, "key": profile.redis.password.key}
        options["redisPassword"] = {"valueFrom": {"secretKeyRef": reference}}
    return options
