"""The operators' own rules, which are no part of their schemas: what KubeRay and Kueue refuse in well formed objects.

After KubeRay's `validation.go` (1.7) and Kueue's `rayjob_webhook.go` and `raycluster_webhook.go`, as far as our
manifests could break them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
MANAGED = ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME", "RAY_enable_autoscaler_v2")


def broken_rules(found: dict[str, Any]) -> list[str]:
    """What the operators would say of a RayJob or a RayCronJob."""
    if found["kind"] == "RayCronJob":
        broken = ["a time zone in the schedule"] if "TZ" in found["spec"]["schedule"] else []
        return broken + list(_job_rules(found["spec"]["jobTemplate"], queued=False))
    return [*_metadata_rules(found["metadata"]), *_job_rules(found["spec"], queued=_is_queued(found))]


def _is_queued(found: dict[str, Any]) -> bool:
    return "kueue.x-k8s.io/queue-name" in found["metadata"]["labels"]


def _metadata_rules(metadata: dict[str, Any]) -> Iterator[str]:
    if not DNS_1035.fullmatch(metadata["name"]) or len(metadata["name"]) > 47:
        yield f"the name {metadata['name']}"
    for value in metadata["labels"].values():
        if not LABEL_VALUE.fullmatch(value) or len(value) > 63:
            yield f"the label {value}"


def _job_rules(job: dict[str, Any], *, queued: bool) -> Iterator[str]:
    if job.get("suspend") and not job["shutdownAfterJobFinishes"]:
        yield "suspend without shutdownAfterJobFinishes"
    if job.get("ttlSecondsAfterFinished", 0) and not job["shutdownAfterJobFinishes"]:
        yield "ttlSecondsAfterFinished without shutdownAfterJobFinishes"
    if job["ttlSecondsAfterFinished"] < 0 or job["backoffLimit"] < 0 or job.get("activeDeadlineSeconds", 1) <= 0:
        yield "a number below zero"
    if job["submissionMode"] == "SidecarMode" and "submitterPodTemplate" in job:
        yield "a submitter beside the head has no pod"
    if job["submitterPodTemplate"]["spec"]["restartPolicy"] not in ("Never", "OnFailure"):
        yield "a job's pod that is restarted for ever"
    yield from cluster_rules(job["rayClusterSpec"])
    if queued and job["rayClusterSpec"].get("enableInTreeAutoscaling"):
        yield "Kueue admits no cluster that scales itself"
    if queued and len(job["rayClusterSpec"]["workerGroupSpecs"]) > 7:
        yield "more sets of pods than Kueue counts"
    if queued and not job.get("suspend"):
        yield "a queued job that begins by itself"


def cluster_rules(cluster: dict[str, Any]) -> Iterator[str]:
    groups = cluster["workerGroupSpecs"]
    head = cluster["headGroupSpec"]
    if len({group["groupName"] for group in groups}) < len(groups):
        yield "two groups of one name"
    for group in groups:
        if not 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield f"the replicas of {group['groupName']}"
    templates = [spec["template"]["spec"] for spec in (head, *groups)]
    if cluster.get("autoscalerOptions", {}).get("version") == "v2" and not cluster.get("enableInTreeAutoscaling"):
        yield "options of an autoscaler that is not there"
    if cluster.get("enableInTreeAutoscaling") and any(spec.get("restartPolicy") != "Never" for spec in templates):
        yield "pods that are restarted beside autoscaler v2"
    names = {variable["name"] for variable in templates[0]["containers"][0]["env"]}
    yield from (f"{name} in the head's environment" for name in MANAGED if name in names)
    version = tuple(map(int, cluster["rayVersion"].split(".")))
    if cluster["authOptions"]["mode"] == "token" and version < (2, 52, 0):
        yield "a token for a Ray that asks for none"
