"""A spec as the schedule server needs it: when its job runs, and what travels to the cluster."""

from __future__ import annotations

from pathlib import Path

from vision_batch.cluster.profile import LoadedProfile
from vision_batch.cluster.schedule.folder import ScheduledSpec
from vision_batch.jobs.package import job_package
from vision_batch.jobs.spec import load_spec


def read_scheduled(path: Path, profile: LoadedProfile) -> ScheduledSpec | None:
    """The spec at `path` for the cluster of `profile`, its time left open; None where it has no `schedule:` block.

    SpecError for what is no good spec, or cannot run there.
    """
    spec = load_spec(path, for_any_time=True)
    if spec.settings.schedule is None:
        return None
    package = job_package(spec, profile)
    return ScheduledSpec(path=str(path), name=spec.settings.name, settings=spec.settings.schedule, package=package)
