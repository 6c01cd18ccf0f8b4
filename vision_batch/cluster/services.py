"""The service that looks after the jobs of a profile: one line a kind."""

from __future__ import annotations

from vision_batch.cluster.job import JobService
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.profile import LoadedProfile, LocalProfile, RayProfile


def job_service(profile: LoadedProfile) -> JobService:
    """Imports what the kind needs, and contacts nobody yet. SpecError where that is not installed."""
    match profile.settings:
        case LocalProfile():
            from vision_batch.cluster.local_jobs import LocalJobs

            return LocalJobs()
        case RayProfile():
            from vision_batch.cluster.ray_jobs import RayJobs

            return RayJobs(profile.settings)
        case KubeRayProfile():
            from vision_batch.cluster.kuberay_jobs import KubeRayJobs
            from vision_batch.cluster.kubernetes_api import connect

            return KubeRayJobs(profile.settings, connect(profile.settings.namespace, profile.settings.context))
