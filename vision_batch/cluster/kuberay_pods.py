"""The pods of a job's Ray cluster: templates of plain values, as Kubernetes takes them.

Every container is without rights: not root, no privileges to gain, no capabilities, the runtime's own filter of system
calls, and nothing to write but `/tmp` (the home too) and shared memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vision_batch.cluster.kuberay_profile import GroupSettings, KubeRayProfile, memory_bytes

JOB_FOLDER = "/opt/job"
"""Where the head's pod finds the files of a job."""

OBJECT_STORE_SHARE = 0.3
"""Of a node's memory, what Ray gives its object store (`DEFAULT_OBJECT_STORE_MEMORY_PROPORTION`)."""

WORKER_WAITS_S = 25
"""How long a worker stays when its pod is to end: the driver needs it to commit what is whole, within 20 s."""

GRACE_S = WORKER_WAITS_S + 15
"""After this Kubernetes kills what is left of a pod: the wait, and the end of Ray's own processes."""

STOP_WAIT_S = 40
"""Between SIGTERM for a driver and SIGKILL where Ray is asked to stop it; three seconds if nobody says more."""

CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
TEMPORARY = {"name": "tmp", "mountPath": "/tmp"}
HOME = {"name": "HOME", "value": "/tmp"}

Template = dict[str, Any]


def head_template(profile: KubeRayProfile, files: Mapping[str, str], config_map: str) -> Template:
    """The head's pod: Ray's own processes and the driver. `files` are paths in the job's folder to `config_map`'s keys.

    Before it ends it asks the driver to end in order, and waits for that.
    """
    container = _container(profile, "ray-head", _resources(profile.head.cpus, profile.head.memory))
    container["env"].append({"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": str(STOP_WAIT_S)})
    # file by file: a whole volume would show them through links, which plug-ins may not be
    container["volumeMounts"] += [
        {"name": "job", "mountPath": f"{JOB_FOLDER}/{path}", "subPath": key, "readOnly": True}
        for path, key in files.items()
    ]
    container["lifecycle"] = _before_end(["python", "-m", "vision_batch.cluster.driver_end"])
    spec = _pod(profile, [container], shared_memory=_object_store(profile.head.memory))
    spec["volumes"].append({"name": "job", "configMap": {"name": config_map}})
    if not profile.autoscaling:  # the autoscaler beside Ray asks Kubernetes for nodes
        spec["automountServiceAccountToken"] = False
    # the cluster goes with its head: its node is not given up because little runs there
    annotations = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    return {"metadata": {"labels": pod_labels(), "annotations": annotations}, "spec": spec}


def worker_template(profile: KubeRayProfile, group: GroupSettings) -> Template:
    """A pod of `group`. It outlives its notice for as long as the driver may need to end in order."""
    resources = _resources(group.cpus, group.memory, {group.gpu_resource: str(group.gpus)} if group.gpus else {})
    container = _container(profile, "ray-worker", resources)
    container["lifecycle"] = _before_end(["sleep", str(WORKER_WAITS_S)])
    spec = _pod(profile, [container], shared_memory=group.shared_memory or _object_store(group.memory))
    spec["automountServiceAccountToken"] = False
    selector, tolerations = dict(group.node_selector), []
    if group.gpus:  # nodes with GPUs are usually kept free of other pods by this taint
        tolerations.append({"key": group.gpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    if group.spot and profile.spot_nodes:
        selector[profile.spot_nodes.key] = profile.spot_nodes.value
        taint = {"key": profile.spot_nodes.key, "operator": "Equal", "value": profile.spot_nodes.value}
        tolerations += [taint | {"effect": effect} for effect in ("NoSchedule", "NoExecute")]
    spec |= {"nodeSelector": selector} if selector else {}
    spec |= {"tolerations": tolerations} if tolerations else {}
    return {"metadata": {"labels": pod_labels()}, "spec": spec}


def submitter_template(profile: KubeRayProfile) -> Template:
    """The pod that hands the entrypoint to Ray and writes the driver's log; KubeRay gives it its command."""
    requests = {"cpu": "100m", "memory": "256Mi"}
    container = small_container(profile, "ray-job-submitter", requests, {"cpu": "1", "memory": "1Gi"})
    return {"metadata": {"labels": pod_labels()}, "spec": small_pod(profile, container, restart="Never")}


def small_container(
    profile: KubeRayProfile, name: str, requests: Mapping[str, str], limits: Mapping[str, str]
) -> dict[str, Any]:
    """A container of the profile's image that does no work of the job, without its secrets."""
    return {
        "name": name,
        "image": profile.image,
        "env": _own_variables(profile),
        "resources": {"requests": dict(requests), "limits": dict(limits)},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [TEMPORARY],
    }


def small_pod(profile: KubeRayProfile, container: dict[str, Any], *, restart: str) -> dict[str, Any]:
    """The spec of a pod around one such container, without rights in Kubernetes."""
    return {
        "restartPolicy": restart,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(profile),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        **_pull_secrets(profile),
    }


def pod_labels() -> dict[str, str]:
    """What every pod of ours has, for network policies and for people."""
    return {"app.kubernetes.io/name": "vision-batch"}


def pod_security(profile: KubeRayProfile) -> dict[str, Any]:
    """Whom a pod's processes belong to. The group owns the volumes, so that they can be written."""
    user = profile.run_as_user
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def autoscaler_options() -> dict[str, Any]:
    """Ray's autoscaler beside the head: the second version, which knows what runs on a node before it takes it away."""
    return {
        "version": "v2",
        "idleTimeoutSeconds": 60,
        "env": [HOME],
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [TEMPORARY],
    }


def _container(profile: KubeRayProfile, name: str, resources: dict[str, Any]) -> dict[str, Any]:
    volumes = [
        {"name": f"volume-{number}", "mountPath": volume.path, "readOnly": volume.read_only}
        for number, volume in enumerate(profile.volumes)
    ]
    return {
        "name": name,
        "image": profile.image,
        "env": [*_own_variables(profile), *({"name": k, "value": v} for k, v in profile.environment.items())],
        "envFrom": [{"secretRef": {"name": secret}} for secret in profile.secrets],
        "resources": resources,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [TEMPORARY, {"name": "shared-memory", "mountPath": "/dev/shm"}, *volumes],
    }


def _pod(profile: KubeRayProfile, containers: list[dict[str, Any]], *, shared_memory: str) -> dict[str, Any]:
    claims = [
        {
            "name": f"volume-{number}",
            "persistentVolumeClaim": {"claimName": volume.claim, "readOnly": volume.read_only},
        }
        for number, volume in enumerate(profile.volumes)
    ]
    account = {"serviceAccountName": profile.service_account} if profile.service_account else {}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "enableServiceLinks": False,
        **account,
        **_pull_secrets(profile),
        "securityContext": pod_security(profile),
        "containers": containers,
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
            *claims,
        ],
    }


def _own_variables(profile: KubeRayProfile) -> list[dict[str, str]]:
    """Where a token is asked for, KubeRay says so to every container of Ray; where none is, we do."""
    return [HOME, *([{"name": "RAY_AUTH_MODE", "value": "disabled"}] if profile.auth == "none" else [])]


def _pull_secrets(profile: KubeRayProfile) -> dict[str, Any]:
    names = [{"name": name} for name in profile.image_pull_secrets]
    return {"imagePullSecrets": names} if names else {}


def _resources(cpus: int, memory: str, more: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Requests equal to limits: Ray plans with what its node may use, and nobody else takes it."""
    amounts = {"cpu": str(cpus), "memory": memory, **(more or {})}
    return {"requests": amounts, "limits": dict(amounts)}


def _object_store(memory: str) -> str:
    return f"{int(memory_bytes(memory) * OBJECT_STORE_SHARE) >> 20}Mi"


def _before_end(command: list[str]) -> dict[str, Any]:
    return {"preStop": {"exec": {"command": command}}}
