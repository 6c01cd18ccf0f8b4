"""One time of a schedule in Kubernetes: makes its RayJob, and stays until that has ended.

The program of a CronJob's pods. It keeps nothing: a pod that takes the place of another finds the RayJob by its name,
which comes from the time, and makes no second one. The times come from Kubernetes, which writes them on the pod's Job.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vision_batch.cluster.job import ENDED, new_job_id
from vision_batch.cluster.kuberay_jobs import job_info
from vision_batch.cluster.kubernetes_api import BATCH_JOBS, RAY_JOBS, KubernetesApi, Object, connect
from vision_batch.cluster.manifest import JOB_ID, OUTPUT, SCHEDULE_LABEL, object_name
from vision_batch.cluster.schedule.settings import Overlap
from vision_batch.documents.scheduled_time import expand_time
from vision_batch.errors import ClusterError

NIGHT_KEY = "night.json"
"""In the ConfigMap of the schedule: `overlap`, and the RayJob as `ray_job`, but for its time."""
SCHEDULED = "vision-batch/scheduled-time"
TIMESTAMP = "batch.kubernetes.io/cronjob-scheduled-timestamp"
"""What a CronJob writes on its Jobs since Kubernetes 1.32, which is not passed on to their pods."""

EXIT_FAILED = 10
"""The RayJob failed: nothing that this program could try again."""
POLL_S = 5.0

Step = Literal["create", "wait", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRun:
    """Another time of the schedule, and when its run ended; None while it is there."""

    scheduled: datetime
    ended: datetime | None


def next_step(overlap: Overlap, moment: datetime, others: Iterable[OtherRun]) -> Step:
    """What the run of `moment` does, whose RayJob is not there yet.

    With `skip` it does nothing if an earlier one was going at its time; else it waits until those are gone. With
    `replace` it is Kubernetes that ends them.
    """
    earlier = [other for other in others if other.scheduled < moment]
    if overlap == "skip":
        return "skip" if any(other.ended is None or other.ended > moment for other in earlier) else "create"
    return "wait" if any(other.ended is None for other in earlier) else "create"


def scheduled_time(job: Object) -> datetime:
    """Of a CronJob's Job; of one that somebody made by hand, when that was."""
    metadata = job["metadata"]
    return _time(metadata.get("annotations", {}).get(TIMESTAMP, metadata["creationTimestamp"]))


def run_night(api: KubernetesApi, night: Object, job_name: str, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """The exit code of the pod: 0 where the run is done or left out, EXIT_FAILED where it failed. ClusterError."""
    job = api.find(BATCH_JOBS, job_name)
    if job is None:
        raise ClusterError(f"no Job {job_name} in the namespace {api.namespace}: it is this pod's own")
    moment = scheduled_time(job)
    body = ray_job_of(night["ray_job"], moment, job)
    made, said = False, ""
    while True:
        found = api.find(RAY_JOBS, body["metadata"]["name"])
        if found is None and made:
            print(f"{body['metadata']['name']} was removed")
            return EXIT_FAILED
        if found is None:
            step = next_step(night["overlap"], moment, _others(api, night["ray_job"], job))
            if step == "skip":
                print(f"{moment:%Y-%m-%dT%H:%M:%SZ} is left out: an earlier run was still going (overlap: skip)")
                return 0
            if step == "create":
                made = api.create(RAY_JOBS, body) or made
                continue
            state = "waiting for the end of an earlier run"
        else:
            made, info = True, job_info(found)
            state = f"{info.job_id}: {info.state} {info.message}".rstrip()
            if info.state in ENDED:
                print(state)
                return 0 if info.state == "done" else EXIT_FAILED
        if state != said:
            print(state, flush=True)
            said = state
        sleep(POLL_S)


def ray_job_of(template: Object, moment: datetime, job: Object) -> Object:
    """The RayJob of `moment`: named after it, told it, and gone when `job` is."""
    metadata, spec = template["metadata"], template["spec"]
    annotations = metadata["annotations"]
    job_id = new_job_id(annotations[JOB_ID], moment)
    text = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    own = {JOB_ID: job_id, OUTPUT: expand_time(annotations[OUTPUT], moment), SCHEDULED: text}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    return template | {
        "metadata": metadata
        | {"name": object_name(job_id), "annotations": annotations | own, "ownerReferences": [owner]},
        "spec": spec | {"entrypoint": f"{spec['entrypoint']} --scheduled-time {text}"},
    }


def _others(api: KubernetesApi, template: Object, own: Object) -> list[OtherRun]:
    """The schedule's other runs: RayJobs, and the Jobs of times whose RayJob is still to be made."""
    label = {SCHEDULE_LABEL: template["metadata"]["labels"][SCHEDULE_LABEL]}
    jobs = [job for job in api.select(BATCH_JOBS, label) if job["metadata"]["uid"] != own["metadata"]["uid"]]
    return [
        *(OtherRun(scheduled=scheduled_time(job), ended=_end_of_job(job)) for job in jobs),
        *(_other_ray_job(job) for job in api.select(RAY_JOBS, label)),
    ]


def _other_ray_job(job: Object) -> OtherRun:
    metadata, info = job["metadata"], job_info(job)
    created = _time(metadata["creationTimestamp"])
    scheduled = metadata.get("annotations", {}).get(SCHEDULED)
    ended = (info.ended or created) if info.state in ENDED else None
    return OtherRun(scheduled=_time(scheduled) if scheduled else created, ended=ended)


def _end_of_job(job: Object) -> datetime | None:
    conditions: list[dict[str, Any]] = job.get("status", {}).get("conditions", [])
    ends = [each for each in conditions if each["type"] in ("Complete", "Failed") and each["status"] == "True"]
    return _time(ends[0]["lastTransitionTime"]) if ends else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def main(path: str, job_name: str) -> int:
    """What the pod does. SIGTERM ends it at once: nobody else does so for the first process of a container."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    night = json.loads(Path(path).read_text())
    return run_night(connect(night["ray_job"]["metadata"]["namespace"]), night, job_name)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
