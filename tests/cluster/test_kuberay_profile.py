"""A profile of KubeRay is refused for what the operator, Kueue or the pods themselves would refuse much later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vision_batch.cluster.kuberay_profile import KubeRayProfile, memory_bytes
from vision_batch.documents.validation import validate_settings
from vision_batch.errors import SpecError

EXAMPLE = Path(__file__).parents[2] / "cluster" / "kuberay.yaml"
GROUP = {"name": "cpu", "cpus": 4, "memory": "16Gi"}
SMALL = {"kind": "kuberay", "image": "registry.example.com/vision-batch:1", "ray_version": "2.60.0", "groups": [GROUP]}


def validated(change: dict[str, Any]) -> KubeRayProfile:
    return validate_settings(KubeRayProfile, SMALL | change, what="the profile")


def group(**change: Any) -> dict[str, Any]:
    return {"groups": [GROUP | change]}


def test_little_is_needed() -> None:
    profile = validated({})
    assert (profile.namespace, profile.auth, profile.retries, profile.queue) == ("default", "token", 2, None)
    assert not profile.autoscaling
    assert not profile.sees("/data")


def test_the_example_shows_nodes_that_come_and_go() -> None:
    profile = validate_settings(KubeRayProfile, yaml.safe_load(EXAMPLE.read_text()), what="the profile")
    assert profile.autoscaling
    assert {group.spot for group in profile.groups} == {True, False}


def test_what_a_volume_holds_is_seen_by_every_node() -> None:
    profile = validated({"volumes": [{"claim": "datasets", "path": "/data"}]})
    assert profile.sees("/data/images/a.tar")
    assert not profile.sees("/database")


@pytest.mark.parametrize(("text", "expected"), [("512Mi", 512 << 20), ("3Gi", 3 << 30), ("1Ti", 1 << 40)])
def test_memory_is_counted_in_binary_units(text: str, expected: int) -> None:
    assert memory_bytes(text) == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"groups": []}, "groups: found a list of 0"),
        ({"groups": [GROUP, GROUP]}, "groups with names of their own; there are two called cpu"),
        (group(name="CPU"), "groups.0.name: found 'CPU'; expected text that matches"),
        (group(memory="16GB"), "groups.0.memory: found '16GB'; expected text that matches"),
        (group(cpus=0), "groups.0.cpus: found the number 0; expected a whole number of at least 1"),
        (group(cpus=True), "groups.0.cpus: found true"),
        (group(max_node=3), "did you mean 'max_nodes'?"),
        (group(min_nodes=3, max_nodes=2), "max_nodes of at least min_nodes, not 2 and 3"),
        (group(shared_memory="16Gi"), "shared_memory that is part of memory, not 16Gi of 16Gi"),
        (group(spot=True), "spot_nodes, the label of the cloud's spot nodes"),
        ({"ray_version": "2.51.0"}, "a ray_version of at least 2.52.0 for auth: token, not 2.51.0"),
        ({"ray_version": "2.60"}, "ray_version: found '2.60'"),
        ({"auth": "None"}, "auth: found 'None'; expected token or none"),
        ({"queue": "vision", **group(min_nodes=0, max_nodes=2)}, "Kueue admits jobs whose size is known"),
        ({"queue": "vision", "groups": [GROUP | {"name": f"g{n}"} for n in range(8)]}, "at most 7 groups"),
        ({"environment": {"AWS_SECRET_ACCESS_KEY": "x"}}, "belongs into a Kubernetes secret, which `secrets` names"),
        ({"environment": {"A-B": "x"}}, "names of environment variables, not 'A-B'"),
        ({"environment": {"HOME": "/x"}}, "none of the variables that are set already"),
        ({"volumes": [{"claim": "a", "path": "data"}]}, "volumes.0.path: found 'data'; expected an absolute path"),
        ({"volumes": [{"claim": "a", "path": "/dev/shm"}]}, "expected an absolute path outside"),
        ({"volumes": [{"claim": "a", "path": "/"}]}, "expected an absolute path outside"),
        ({"volumes": [{"claim": "a", "path": "/a/../b"}]}, "expected an absolute path outside"),
        ({"volumes": [{"claim": "a", "path": "/a"}, {"claim": "b", "path": "/a"}]}, "volumes with paths of their own"),
        ({"redis": {"address": "redis://user:secret@redis:6379"}}, "redis.address: found"),
        ({"retries": -1}, "retries: found the number -1; expected a whole number of at least 0"),
    ],
)
def test_what_would_not_work_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        validated(change)
    assert said in str(caught.value)


def test_an_older_ray_is_fine_where_no_token_is_asked_for() -> None:
    assert validated({"ray_version": "2.51.0", "auth": "none"}).auth == "none"
