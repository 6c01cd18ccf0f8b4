"""Jobs on a Ray cluster that runs already, through its Jobs API.

A job travels as one archive: this version of vision-batch as source, and beside it the spec and its plug-ins. The
cluster has what vision-batch needs (Ray, torch, …), not vision-batch itself, so both sides always have the same one.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from vision_batch import __version__
from vision_batch.cluster.archive import JOB_FOLDER, archive, archive_name
from vision_batch.cluster.dashboard import Dashboard
from vision_batch.cluster.job import ENDED, JobInfo, JobState, meaning_of_exit
from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.profile import RayProfile
from vision_batch.cluster.ray_token import read_token
from vision_batch.cluster.requirement import required
from vision_batch.errors import ClusterError, SpecError

STOP_WAIT_S = 40
"""Between the request to stop and Ray's SIGKILL; a driver needs up to 20 s, and where it plans a little more."""
FOLLOW_S = 1.0
"""How often a log that is followed is looked at, at most."""
FOLLOW_SHARE = 10
"""A log is fetched whole each time: pauses are so many times as long as that took."""
MESSAGE_CHARACTERS = 500

MARK = "vision_batch"
"""What tells our jobs from others in the Jobs API's metadata; its value is the version that submitted."""

PLAIN_EXITS = frozenset((0, 3, 4, 130))
"""Exit codes that say enough; after others the end of the log says what was wrong."""

STATES: dict[str, JobState] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "done",
    "FAILED": "failed",
    "STOPPED": "stopped",
}


class RayJobs:
    """The JobService of a `ray` profile. SpecError where a token is wanted and there is none."""

    def __init__(self, profile: RayProfile) -> None:
        self._auth = profile.auth
        if profile.auth == "token":
            read_token()
        self._dashboard = Dashboard(profile.address, _token if profile.auth == "token" else None)

    def submit(self, package: JobPackage, job_id: str) -> None:
        self._demand_version()
        self._demand_token()
        if self._find(job_id) is not None:
            return
        uri = self._upload(archive(package))
        answer = self._dashboard.request("POST", "/api/jobs/", json=self._request(package, job_id, uri))
        # An id that is known is refused: the answer to an earlier attempt was lost.
        if answer.status_code != 200 and self._find(job_id) is None:
            raise self._dashboard.refusal(answer)

    def list(self) -> list[JobInfo]:
        found = [
            details
            for details in self._dashboard.ask("GET", "/api/jobs/")
            if details["type"] == "SUBMISSION" and MARK in (details["metadata"] or {})
        ]
        return [job_info(details) for details in sorted(found, key=lambda details: details["start_time"] or 0)]

    def info(self, job_id: str) -> JobInfo:
        details = self._find(job_id)
        if details is None:
            raise self._unknown(job_id)
        return job_info(details)

    def logs(self, job_id: str, *, follow: bool) -> Iterator[str]:
        shown = 0
        while True:
            has_ended = self.info(job_id).state in ENDED
            asked = time.monotonic()
            lines = self._log(job_id).split("\n")
            last = lines.pop()  # empty, or a line that is not whole yet
            if (has_ended or not follow) and last:
                lines.append(last)
            yield from lines[shown:]
            shown = len(lines)
            if has_ended or not follow:
                return
            time.sleep(max(FOLLOW_S, FOLLOW_SHARE * (time.monotonic() - asked)))

    def stop(self, job_id: str) -> None:
        answer = self._dashboard.request("POST", f"{_path(job_id)}/stop")
        if answer.status_code == 404:
            raise self._unknown(job_id)
        if answer.status_code != 200:
            raise self._dashboard.refusal(answer)

    def forget(self, job_id: str) -> None:
        answer = self._dashboard.request("DELETE", _path(job_id))
        if answer.status_code not in (200, 404):
            raise self._dashboard.refusal(answer)

    def _find(self, job_id: str) -> dict[str, Any] | None:
        answer = self._dashboard.request("GET", _path(job_id))
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise self._dashboard.refusal(answer)
        details: dict[str, Any] = self._dashboard.content(answer)
        return details

    def _log(self, job_id: str) -> str:
        logs: str = self._dashboard.ask("GET", f"{_path(job_id)}/logs")["logs"]
        return logs

    def _upload(self, data: bytes) -> str:
        """Where the cluster has the archive.

        Asking for it comes first, for that alone has Ray keep it for ten minutes: it deletes an archive with the last
        job that used it, and a job of the same content may be ending right now.
        """
        name = archive_name(data)
        path = f"/api/packages/gcs/{name}"
        answer = self._dashboard.request("GET", path)
        if answer.status_code == 404:
            self._dashboard.ask("PUT", path, data=data)
        elif answer.status_code != 200:
            raise self._dashboard.refusal(answer)
        return f"gcs://{name}"

    def _unknown(self, job_id: str) -> ClusterError:
        return ClusterError(
            f"{self._dashboard.address}: no job {job_id}; `vision-batch list` shows those that the cluster remembers"
        )

    def _request(self, package: JobPackage, job_id: str, uri: str) -> dict[str, Any]:
        """What is posted to begin the job; no secrets are in it: everybody who may list jobs can read it."""
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
        if self._auth == "none":
            variables["RAY_AUTH_MODE"] = "disabled"  # says it aloud to the driver, which joins the cluster too
        return {
            "submission_id": job_id,
            "entrypoint": entrypoint(package),
            "runtime_env": {"working_dir": uri, "env_vars": variables},
            "metadata": {MARK: __version__, "name": package.name, "output": package.output},
            "entrypoint_label_selector": self._driver_place(),
        }

    def _driver_place(self) -> dict[str, str]:
        """Where the driver goes: to any node but the head, where there is another. It reserves nothing."""
        table = self._dashboard.ask("GET", "/api/v0/nodes")
        nodes = [node for node in table["data"]["result"]["result"] if node["state"] == "ALIVE"]
        heads = [node["node_id"] for node in nodes if node["is_head_node"]]
        return {"ray.io/node-id": f"!{heads[0]}"} if len(heads) == 1 and len(nodes) > 1 else {}

    def _demand_token(self) -> None:
        """ClusterError where a token is wanted and the cluster needs none: anybody may run what they like there."""
        if self._auth == "none":
            return
        if self._dashboard.ask("GET", "/api/authentication_mode")["authentication_mode"] == "disabled":
            raise ClusterError(
                f"{self._dashboard.address}: the cluster lets anybody in, without a token; start it with "
                "RAY_AUTH_MODE=token, or say `auth: none` in the profile if that is meant"
            )

    def _demand_version(self) -> None:
        """ClusterError where the cluster's Ray is none that this version of vision-batch works with."""
        answer = self._dashboard.ask("GET", "/api/version")
        if not isinstance(answer, dict) or "ray_version" not in answer:
            raise ClusterError(f"{self._dashboard.address}: something else answers there than the dashboard of Ray")
        found, wanted = answer["ray_version"], required("ray")
        if wanted is not None and not wanted.contains(found, prereleases=True):
            raise ClusterError(
                f"{self._dashboard.address}: the cluster has Ray {found}; vision-batch {__version__} needs ray{wanted}"
            )


def _token() -> str:
    """ClusterError where there is none any more: whoever serves schedules goes on and tries again."""
    try:
        return read_token()
    except SpecError as error:
        raise ClusterError(str(error)) from error


def entrypoint(package: JobPackage) -> str:
    """The shell's line that runs the job. `-P`: no file beside the spec takes the place of an installed module."""
    command = ["python", "-P", "-m", "vision_batch", *package.arguments, "--address", "auto"]
    return f"cd {JOB_FOLDER} && exec {shlex.join(command)}"


def job_info(details: dict[str, Any]) -> JobInfo:
    """A job as the Jobs API describes it; times there are in milliseconds."""
    state, code = STATES[details["status"]], details["driver_exit_code"]
    metadata = details["metadata"] or {}
    return JobInfo(
        job_id=details["submission_id"],
        name=metadata.get("name", details["submission_id"]),
        state=state,
        exit_code=code,
        message=_message(state, code, details["message"] or ""),
        submitted=_moment(details["start_time"]),
        ended=_moment(details["end_time"]),
        output=metadata.get("output"),
    )


def _message(state: JobState, code: int | None, said: str) -> str:
    """Ray's own words only where they say more than the state: with an exit code they are the end of the log."""
    if code is not None:
        reason = "" if code < 0 or code in PLAIN_EXITS else _reason(said)
        return f"{meaning_of_exit(code)}: {reason}" if reason else meaning_of_exit(code)
    match state:
        case "running":
            return ""
        case "stopped":
            return meaning_of_exit(130).partition(" (")[0]
        case _:
            return " ".join(said.split())[:MESSAGE_CHARACTERS]


def _reason(log: str) -> str:
    """The last line of a log that says what was wrong, or the last one."""
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1].strip()[:MESSAGE_CHARACTERS]


def _moment(milliseconds: int | None) -> datetime | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _path(job_id: str) -> str:
    return f"/api/jobs/{quote(job_id, safe='')}"
