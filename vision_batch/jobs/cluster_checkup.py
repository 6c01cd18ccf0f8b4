"""Can jobs run on a profile's cluster? A job there says so: it travels, starts and reads storage as every other."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from vision_batch.cluster.checkup import base_requirements
from vision_batch.cluster.finding import Finding, fail, ok, warn
from vision_batch.cluster.job import ENDED, JobInfo, JobService, new_job_id
from vision_batch.cluster.package import SPEC_NAME, JobPackage
from vision_batch.cluster.profile import LoadedProfile, load_profile
from vision_batch.cluster.services import job_service
from vision_batch.errors import ClusterError, SpecError
from vision_batch.jobs.package import job_package
from vision_batch.jobs.spec import load_spec

LIMIT_S = 600.0
"""How long the job may take: where a cluster grows on demand its first node has to come."""
POLL_S = 0.5
LINES_SHOWN = 3


def check_cluster(
    profile_text: str, spec: str | None, overrides: Sequence[str], requirements: Sequence[str] | None = None
) -> Iterator[Finding]:
    """The profile, whether its cluster answers, and all that a job finds there; with a spec also what that names.

    `requirements` as in `check_packages`.
    """
    try:
        profile = load_profile(profile_text)
        service = job_service(profile)
    except SpecError as error:
        yield from (fail("profile", str(problem), "correct it") for problem in error.problems)
        return
    yield ok("profile", f"{profile.path}, kind {profile.settings.kind}")
    try:
        package = _package(profile, spec, overrides, requirements or base_requirements())
    except SpecError as error:
        yield from (fail("spec", str(problem), "correct the spec") for problem in error.problems)
        return
    try:
        yield ok("cluster", f"answers, and remembers {len(service.list()):,} jobs")
        yield from check_by_job(service, package)
    except ClusterError as error:
        yield fail("cluster", " ".join(str(error).split()), f"correct {profile.path}, or what it names")


def check_by_job(service: JobService, package: JobPackage, *, limit_s: float = LIMIT_S) -> Iterator[Finding]:
    """Runs the package, which is to end with the object of `doctor --json`, and returns what it found.

    A job that answered leaves nothing behind; one that did not stays, with its log. ClusterError when the cluster does
    not do its part.
    """
    job_id = f"{new_job_id(package.name, datetime.now(UTC))}-{secrets.token_hex(2)}"
    service.submit(package, job_id)
    yield ok("job", f"{job_id} is submitted, to look around there")
    deadline = time.monotonic() + limit_s
    while (info := service.info(job_id)).state not in ENDED:
        if time.monotonic() >= deadline:
            service.stop(job_id)
            yield fail("job", f"{job_id} is {_state(info)} after {limit_s:g} s", "see what the cluster is busy with")
            return
        time.sleep(POLL_S)
    lines = list(service.logs(job_id, follow=False))
    findings = _findings(lines)
    if findings is None:
        said = " | ".join(lines[-LINES_SHOWN:]) or "nothing"
        yield fail("job", f"{job_id} is {_state(info)} without an answer; it said: {said}", "see its whole log")
        return
    yield from (replace(finding, check=f"there: {finding.check}") for finding in findings)
    try:
        service.forget(job_id)
    except ClusterError as error:
        yield warn("job", f"{job_id} stays in the list: {' '.join(str(error).split())}", "remove it there")


def _package(
    profile: LoadedProfile, spec: str | None, overrides: Sequence[str], requirements: Sequence[str]
) -> JobPackage:
    """A job that looks around, with the spec and its plug-ins in its package, and what is demanded of the nodes."""
    arguments = ("doctor", "--json", *(word for text in requirements for word in ("--require", text)))
    if spec is None:
        return JobPackage(name="doctor", files={SPEC_NAME: b""}, arguments=arguments, output="", resumes=False)
    package = job_package(load_spec(spec, overrides), profile)
    return replace(package, name="doctor", arguments=(*arguments, SPEC_NAME), resumes=False)


def _findings(lines: Sequence[str]) -> list[Finding] | None:
    """What the last line of such an object says, whatever was logged after it; None where there is none."""
    for line in reversed(lines):
        try:
            return [Finding(**facts) for facts in json.loads(line)["checks"]]
        except (KeyError, TypeError, ValueError):
            continue
    return None


def _state(info: JobInfo) -> str:
    return f"{info.state} ({info.message})" if info.message else info.state
