"""A schedule becomes what Kubernetes keeps: its time zone, overlap and history, and no more rights than it needs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cluster.kuberay_profiles import SMALL, package, profiles
from tests.cluster.kuberay_rules import broken_rules
from tests.infra.validation import validate
from vision_batch.cluster.kuberay_cron import cron_job_manifests, ray_cron_job_manifests
from vision_batch.cluster.kuberay_night import NIGHT_KEY, ray_job_of
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.package import SPEC_NAME, JobPackage
from vision_batch.cluster.schedule.settings import RetrySettings, ScheduleSettings
from vision_batch.errors import SpecError

PROFILE = KubeRayProfile.model_validate(SMALL)
NIGHTLY = ScheduleSettings(cron="30 3 * * *", timezone="Europe/Berlin")

schedules = st.builds(
    ScheduleSettings,
    cron=st.sampled_from(["30 3 * * *", "*/15 * * * mon-fri", "0 0 1 jan,jul *"]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
    overlap=st.sampled_from(["skip", "queue", "replace"]),
    catch_up=st.sampled_from(["latest", "none"]),
    deadline=st.sampled_from([None, "6h"]),
    retries=st.builds(RetrySettings, limit=st.integers(0, 5)),
)


def by_kind(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {found["kind"]: found for found in objects}


def cron_job(profile: KubeRayProfile = PROFILE, **change: Any) -> dict[str, Any]:
    """The spec of the CronJob."""
    made = cron_job_manifests(profile, package(), NIGHTLY.model_copy(update=change))
    spec: dict[str, Any] = by_kind(made)["CronJob"]["spec"]
    return spec


def night_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    night: dict[str, Any] = json.loads(by_kind(objects)["ConfigMap"]["data"][NIGHT_KEY])
    return night


@given(profile=profiles(), schedule=schedules)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_schedule_makes_objects_that_are_taken(profile: KubeRayProfile, schedule: ScheduleSettings) -> None:
    made = cron_job_manifests(profile, package(), schedule)
    for found in made:
        validate(found)
    job = {"metadata": {"name": "nightly-1", "uid": "u"}}
    night = ray_job_of(night_of(made)["ray_job"], datetime(2026, 11, 21, 2, 30, tzinfo=UTC), job)
    validate(night)
    assert broken_rules(night) == []


@given(schedule=schedules.filter(lambda found: found.overlap == "skip"))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_kuberays_own_cron_job_is_taken_too(schedule: ScheduleSettings) -> None:
    made = ray_cron_job_manifests(PROFILE, package(), schedule)
    for found in made:
        validate(found)
    found = by_kind(made)["RayCronJob"]
    assert broken_rules(found) == []
    assert (found["spec"]["schedule"], found["spec"]["timeZone"]) == (schedule.cron, schedule.timezone)


def test_everything_that_is_needed_is_there_and_finds_itself() -> None:
    made = by_kind(cron_job_manifests(PROFILE, package(), NIGHTLY))
    assert set(made) == {"ConfigMap", "ServiceAccount", "Role", "RoleBinding", "CronJob"}
    pod = made["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    files = made["ConfigMap"]["metadata"]["name"]
    assert pod["serviceAccountName"] == made["ServiceAccount"]["metadata"]["name"]
    assert made["RoleBinding"]["subjects"][0]["name"] == made["ServiceAccount"]["metadata"]["name"]
    assert made["RoleBinding"]["roleRef"]["name"] == made["Role"]["metadata"]["name"]
    assert {"name": "job", "configMap": {"name": files}} in pod["volumes"]
    head = night_of(list(made.values()))["ray_job"]["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert {"name": "job", "configMap": {"name": files}} in head["template"]["spec"]["volumes"]


def test_the_small_pod_may_make_ray_jobs_and_look() -> None:
    role = by_kind(cron_job_manifests(PROFILE, package(), NIGHTLY))["Role"]
    assert {(rule["resources"][0], *rule["verbs"]) for rule in role["rules"]} == {
        ("rayjobs", "create", "get", "list"),
        ("jobs", "get", "list"),
    }


def test_an_account_that_is_there_already_gets_no_rights() -> None:
    job = replace(package(), name="default")
    made = by_kind(cron_job_manifests(PROFILE, job, NIGHTLY))
    assert made["ServiceAccount"]["metadata"]["name"] == "default-schedule"


def test_the_small_pod_has_none_of_the_jobs_secrets() -> None:
    profile = KubeRayProfile.model_validate(SMALL | {"secrets": ["object-store"]})
    assert "object-store" not in json.dumps(cron_job(profile))


def test_the_clock_is_the_schedules() -> None:
    assert (cron_job()["schedule"], cron_job()["timeZone"]) == ("30 3 * * *", "Europe/Berlin")


@pytest.mark.parametrize(("overlap", "policy"), [("skip", "Forbid"), ("replace", "Replace"), ("queue", "Allow")])
def test_overlap_is_a_policy(overlap: str, policy: str) -> None:
    assert cron_job(overlap=overlap)["concurrencyPolicy"] == policy


def test_what_was_missed_is_made_up_for_or_not() -> None:
    assert cron_job(catch_up="latest")["startingDeadlineSeconds"] == 7 * 86400
    assert cron_job(catch_up="none")["startingDeadlineSeconds"] == 600
    with pytest.raises(SpecError, match=r"schedule.catch_up: found 'all'; expected latest or none in Kubernetes"):
        cron_job(catch_up="all")


def test_history_is_limited_by_the_profile() -> None:
    spec = cron_job(KubeRayProfile.model_validate(SMALL | {"history": 7}))
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (7, 7)


def test_the_schedules_limits_are_those_of_its_jobs() -> None:
    schedule = NIGHTLY.model_copy(update={"deadline": "6h", "retries": RetrySettings(limit=5)})
    spec = night_of(cron_job_manifests(PROFILE, package(), schedule))["ray_job"]["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (6 * 3600, 5)


def test_a_run_that_failed_ends_its_job_and_an_evicted_pod_does_not() -> None:
    ignored, failed = cron_job()["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert (ignored["action"], failed["action"]) == ("Ignore", "FailJob")
    assert failed["onExitCodes"]["values"] == [10]


@pytest.mark.parametrize("other", ["spec", "profile", "schedule"])
def test_what_changes_has_files_of_another_name(other: str) -> None:
    """A run that goes on keeps the files that it began with."""

    def files(profile: KubeRayProfile, job: JobPackage, schedule: ScheduleSettings) -> str:
        name: str = by_kind(cron_job_manifests(profile, job, schedule))["ConfigMap"]["metadata"]["name"]
        return name

    same = files(PROFILE, package(), NIGHTLY)
    assert same == files(PROFILE, package(), NIGHTLY)
    changed = {
        "spec": (PROFILE, package(**{SPEC_NAME: b"job: train\n"}), NIGHTLY),
        "profile": (KubeRayProfile.model_validate(SMALL | {"image": "registry.example.com/b:2"}), package(), NIGHTLY),
        "schedule": (PROFILE, package(), NIGHTLY.model_copy(update={"overlap": "queue"})),
    }
    assert files(*changed[other]) != same


@pytest.mark.parametrize(
    ("profile", "job", "change", "said"),
    [
        ({}, {}, {"overlap": "replace"}, "schedule.overlap: found 'replace'; expected skip, "),
        ({"queue": "vision"}, {}, {}, "queue of the profile: found 'vision'; expected none, for its jobs"),
        ({}, {SPEC_NAME: b"output: {uri: 's3://b/{date}'}"}, {}, "its jobs know no time"),
    ],
)
def test_what_a_ray_cron_job_leaves_out_is_said(
    profile: dict[str, Any], job: dict[str, bytes], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        ray_cron_job_manifests(
            KubeRayProfile.model_validate(SMALL | profile), package(**job), NIGHTLY.model_copy(update=change)
        )
