"""What the commands share that look after submitted jobs: their arguments, and how a job is shown."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import datetime
from typing import Any

from vision_batch.cluster.job import JobInfo, JobService
from vision_batch.cluster.profile import load_profile
from vision_batch.cluster.services import job_service

PROFILE_HELP = "the cluster: a profile's YAML file, or NAME for ./cluster/NAME.yaml"


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """--cluster PROFILE [--json]."""
    parser.add_argument("--cluster", metavar="PROFILE", required=True, help=PROFILE_HELP)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def add_job_argument(parser: argparse.ArgumentParser) -> None:
    """ID."""
    parser.add_argument("job_id", metavar="ID", help="the job's id, as submit and list print it")


def service_of(profile: str) -> JobService:
    """The service behind `--cluster`; SpecError."""
    return job_service(load_profile(profile))


def job_object(info: JobInfo) -> dict[str, Any]:
    """A job as JSON: times are ISO 8601 with a zone."""
    return asdict(info) | {"submitted": _iso(info.submitted), "ended": _iso(info.ended)}


def job_line(info: JobInfo) -> str:
    """State and what is to be said of it, in one line."""
    if not info.message:
        return info.state
    return info.message if info.message.startswith(info.state) else f"{info.state}: {info.message}"


def person_time(moment: datetime | None) -> str:
    """In the zone of this machine, to the second; a dash for what is not known."""
    return "-" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
