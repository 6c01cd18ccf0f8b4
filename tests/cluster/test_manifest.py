"""Whatever a profile says, what is made of it is taken by Kubernetes, KubeRay and Kueue, and gives no rights away."""

from __future__ import annotations

import base64
import re
import subprocess
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cluster.kuberay_profiles import GROUP, SMALL, package, profiles
from tests.cluster.kuberay_rules import DNS_1035, broken_rules
from tests.infra.validation import validate
from vision_batch.cluster.kuberay_pods import JOB_FOLDER
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.manifest import (
    LARGEST_CONFIG_MAP_BYTES,
    LONGEST_JOB_NAME,
    config_map,
    entrypoint,
    file_keys,
    object_name,
    ray_job,
)
from vision_batch.errors import SpecError

NIGHT = "nightly-20261121T033000Z"


def made(profile: KubeRayProfile, **files: bytes) -> dict[str, Any]:
    return ray_job(profile, package(**files), name=object_name(NIGHT), job_id=NIGHT, files="nightly-1")


def made_of(**change: Any) -> dict[str, Any]:
    return made(KubeRayProfile.model_validate(SMALL | change))


def cluster_of(**change: Any) -> dict[str, Any]:
    spec: dict[str, Any] = made_of(**change)["spec"]["rayClusterSpec"]
    return spec


def pod_specs(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the submitter, the head and the workers."""
    cluster = found["spec"]["rayClusterSpec"]
    templates = [found["spec"]["submitterPodTemplate"], cluster["headGroupSpec"]["template"]]
    templates += [group["template"] for group in cluster["workerGroupSpecs"]]
    return [template["spec"] for template in templates]


@given(profile=profiles())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_profile_makes_a_job_that_is_taken(profile: KubeRayProfile) -> None:
    found = made(profile)
    validate(found)
    assert broken_rules(found) == []
    validate(config_map(profile, package(), "nightly-1"))


@given(profile=profiles())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_pod_has_rights_that_it_does_not_need(profile: KubeRayProfile) -> None:
    for spec in pod_specs(made(profile)):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == profile.run_as_user > 0
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        for container in spec["containers"]:
            locked = container["securityContext"]
            assert (locked["allowPrivilegeEscalation"], locked["readOnlyRootFilesystem"]) == (False, True)
            assert locked["capabilities"] == {"drop": ["ALL"]}
            assert locked["seccompProfile"] == {"type": "RuntimeDefault"}
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
            assert "memory" in container["resources"]["limits"]


def test_the_rules_are_noticed_when_they_are_broken() -> None:
    found = made_of(queue="vision")
    found["spec"]["shutdownAfterJobFinishes"] = False
    assert broken_rules(found) == ["suspend without shutdownAfterJobFinishes"]
    found = made_of()
    found["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplicas"] = 9
    assert broken_rules(found) == ["the replicas of cpu"]


def test_the_head_does_no_work_and_holds_the_driver() -> None:
    head = cluster_of()["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert head["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1:] == [
        "-m",
        "vision_batch.cluster.driver_end",
    ]


def test_every_pod_lives_long_enough_after_its_notice_for_a_driver_to_commit() -> None:
    head, worker = (spec for spec in pod_specs(made_of())[1:])
    assert worker["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "25"]
    assert {spec["terminationGracePeriodSeconds"] for spec in (head, worker)} == {40}


def test_shared_memory_is_part_of_the_memory_that_ray_plans_with() -> None:
    for group, limit in ((GROUP, "4915Mi"), (GROUP | {"shared_memory": "6Gi"}, "6Gi")):
        volumes = pod_specs(made_of(groups=[group]))[2]["volumes"]
        assert {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": limit}} in volumes


def test_a_cluster_without_a_token_says_so_to_whoever_joins_it() -> None:
    disabled = {"name": "RAY_AUTH_MODE", "value": "disabled"}
    for auth, expected in (("none", True), ("token", False)):
        for spec in pod_specs(made_of(auth=auth)):
            assert (disabled in spec["containers"][0]["env"]) == expected


def test_nodes_with_gpus_are_asked_for_and_their_taint_is_tolerated() -> None:
    spec = pod_specs(made_of(groups=[GROUP | {"gpus": 2, "node_selector": {"accelerator": "l4"}}]))[2]
    resources = spec["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["nodeSelector"] == {"accelerator": "l4"}


def test_spot_nodes_are_chosen_and_tolerated() -> None:
    spec = pod_specs(made_of(groups=[GROUP | {"spot": True}], spot_nodes={"key": "spot", "value": "true"}))[2]
    assert spec["nodeSelector"] == {"spot": "true"}
    assert {(each["key"], each["value"], each["effect"]) for each in spec["tolerations"]} == {
        ("spot", "true", "NoSchedule"),
        ("spot", "true", "NoExecute"),
    }


def test_bounds_that_differ_bring_the_autoscaler() -> None:
    assert "enableInTreeAutoscaling" not in cluster_of()
    scaling = cluster_of(groups=[GROUP | {"min_nodes": 0, "max_nodes": 4}])
    assert scaling["enableInTreeAutoscaling"]
    assert scaling["autoscalerOptions"]["version"] == "v2"
    (group,) = scaling["workerGroupSpecs"]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (0, 0, 4)


def test_only_a_head_that_scales_speaks_to_kubernetes() -> None:
    def accounts(**change: Any) -> list[bool]:
        return [spec.get("automountServiceAccountToken", True) for spec in pod_specs(made_of(**change))]

    assert accounts() == [False, False, False]
    assert accounts(groups=[GROUP | {"min_nodes": 0}]) == [False, True, False]


def test_a_token_is_asked_for_unless_told_otherwise() -> None:
    assert cluster_of()["authOptions"] == {"mode": "token"}
    assert cluster_of(auth="none")["authOptions"] == {"mode": "disabled"}


def test_secrets_are_references_and_only_nodes_of_ray_have_them() -> None:
    found = made_of(secrets=["object-store"], redis={"address": "r:1", "password": {"secret": "redis", "key": "p"}})
    submitter, head, worker = (spec["containers"][0] for spec in pod_specs(found))
    assert "envFrom" not in submitter
    assert head["envFrom"] == worker["envFrom"] == [{"secretRef": {"name": "object-store"}}]
    options = found["spec"]["rayClusterSpec"]["gcsFaultToleranceOptions"]
    assert options["redisPassword"] == {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "p"}}}


def test_a_queued_job_waits_for_kueue() -> None:
    found = made_of(queue="vision")
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "vision"
    assert found["spec"]["suspend"] is True
    assert "suspend" not in made_of()["spec"]


def test_limits_of_the_profile_are_those_of_the_job() -> None:
    spec = made_of(retries=4, deadline_s=600, ttl_s=60)["spec"]
    names = ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
    assert [spec[name] for name in names] == [4, 600, 60]


def test_what_does_not_resume_is_not_tried_again() -> None:
    once = replace(package(), resumes=False)
    job = ray_job(KubeRayProfile.model_validate(SMALL), once, name="doctor", job_id="doctor", files="doctor")
    assert job["spec"]["backoffLimit"] == 0


def test_the_files_of_a_job_lie_in_its_folder_as_files() -> None:
    files = {"nets/__init__.py": b"", "nets/model.py": b"# a\n", "model.py": b"# b\n"}
    profile = KubeRayProfile.model_validate(SMALL)
    data = config_map(profile, package(**files), "nightly-1")["data"]
    mounts = pod_specs(made(profile, **files))[1]["containers"][0]["volumeMounts"]
    lying = {each["mountPath"]: data[each["subPath"]].encode() for each in mounts if each["name"] == "job"}
    expected = package(**files).files
    assert lying == {f"{JOB_FOLDER}/{path}": content for path, content in expected.items()}


def test_bytes_that_are_no_text_travel_too() -> None:
    found = config_map(KubeRayProfile.model_validate(SMALL), package(**{"a.py": b"\xff"}), "nightly-1")
    assert {base64.b64decode(value) for value in found["binaryData"].values()} == {b"\xff"}


def test_what_is_too_large_for_kubernetes_is_refused() -> None:
    with pytest.raises(SpecError, match=r"at most 1,048,576: what is larger belongs into the image"):
        config_map(KubeRayProfile.model_validate(SMALL), package(**{"a.py": b"#" * LARGEST_CONFIG_MAP_BYTES}), "n")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, unique=True))
def test_any_file_has_a_key_of_its_own(paths: list[str]) -> None:
    keys = file_keys(dict.fromkeys(paths, b""))
    assert set(keys) == set(paths)
    assert len(set(keys.values())) == len(paths)
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", key) for key in keys.values())


def shell_words(line: str) -> list[str]:
    """The words of a line as a shell hands them on."""
    command = ["sh", "-c", f"printf '%s\\0' {line}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


@pytest.mark.parametrize(
    "argument", ["2026-11-21T03:30:00Z", "numpy>=2,<3", "$HOME", "a;b", "*", "~", "\\", "a&&b", "ü"]
)
def test_the_entrypoint_survives_both_shells(argument: str) -> None:
    """The submitter's shell reads it; what Ray's command makes of its words is read by the driver's shell."""
    words = shell_words(subprocess.list2cmdline(shell_words(entrypoint(("run", "spec.yaml", "--x", argument)))))
    assert words[:3] == ["env", f"--chdir={JOB_FOLDER}", "python"]
    assert words[-6:] == ["run", "spec.yaml", "--x", argument, "--address", "auto"]


@pytest.mark.parametrize("argument", ["a b", "it's", '"', ""])
def test_what_cannot_be_passed_on_is_refused(argument: str) -> None:
    with pytest.raises(SpecError, match="an argument without spaces and quotes"):
        entrypoint(("run", argument))


job_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}(-[0-9]{8}T[0-9]{6}Z)?(-[0-9a-f]{4})?", fullmatch=True)


@given(job_ids)
def test_any_job_has_a_name_that_kubernetes_takes(job_id: str) -> None:
    name = object_name(job_id)
    assert DNS_1035.fullmatch(name)
    assert len(name) <= LONGEST_JOB_NAME


@given(job_ids, job_ids)
def test_two_jobs_have_two_names(one: str, other: str) -> None:
    assert (object_name(one) == object_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("job_id", "name"),
    [
        ("nightly-20261121T033000Z", "nightly-20261121t033000z"),
        ("nightly-20261121T033000Z-0a1b", "nightly-20261121t033000z-0a1b"),
    ],
)
def test_the_name_is_the_id_where_that_can_be(job_id: str, name: str) -> None:
    assert object_name(job_id) == name


def test_a_name_that_is_too_long_keeps_its_time() -> None:
    assert re.fullmatch(r"j-a{19}-[0-9a-f]{8}-20261121t033000z", object_name("A" * 99 + "-20261121T033000Z"))
