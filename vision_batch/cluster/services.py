"""The service that looks after the jobs of a profile: one line a kind."""

from __future__ import annotations

from vision_batch.cluster.job import JobService
from vision_batch.cluster.profile import LoadedProfile, LocalProfile, RayProfile
from vision_batch.errors import Problem, SpecError


def job_service(profile: LoadedProfile) -> JobService:
    """Imports what the kind needs, and contacts nobody yet. SpecError where that is not installed."""
    match profile.settings:
        case LocalProfile():
            from vision_batch.cluster.local_jobs import LocalJobs

            return LocalJobs()
        case RayProfile():
            from vision_batch.cluster.ray_jobs import RayJobs

            return RayJobs(profile.settings)
        case _:
            found = f"{profile.settings.kind}, to which no jobs can be submitted"
            raise SpecError(Problem(f"{profile.path}: kind", found, "another kind of profile"))
