"""Profiles of KubeRay for tests, one and any."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.package import SPEC_NAME, JobPackage

GROUP = {"name": "cpu", "cpus": 4, "memory": "16Gi"}
SMALL = {"kind": "kuberay", "image": "registry.example.com/vision-batch:1", "ray_version": "2.60.0", "groups": [GROUP]}

names = st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
memories = st.sampled_from(["512Mi", "8Gi", "31Gi", "1Ti"])


@st.composite
def groups(draw: st.DrawFn, name: str, *, fixed: bool) -> dict[str, Any]:
    """One group of nodes, of a size that cannot change if it is `fixed`."""
    least = draw(st.integers(0, 3))
    return {
        "name": name,
        "cpus": draw(st.integers(1, 64)),
        "memory": draw(memories),
        "gpus": draw(st.integers(0, 8)),
        "gpu_resource": draw(st.sampled_from(["nvidia.com/gpu", "amd.com/gpu"])),
        "node_selector": draw(st.dictionaries(st.just("cloud.example/accelerator"), names, max_size=1)),
        "shared_memory": draw(st.sampled_from([None, "256Mi"])),
        "min_nodes": max(least, 1) if fixed else least,
        "max_nodes": max(least, 1) if fixed else max(least, 1) + draw(st.integers(0, 3)),
        "spot": draw(st.booleans()),
    }


@st.composite
def profiles(draw: st.DrawFn) -> KubeRayProfile:
    """Any profile that is valid."""
    queue = draw(st.sampled_from([None, "vision"]))
    called = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    password = {"secret": "redis", "key": "password"}
    return KubeRayProfile.model_validate(
        SMALL
        | {
            "namespace": draw(names),
            "auth": draw(st.sampled_from(["token", "none"])),
            "groups": [draw(groups(name, fixed=queue is not None)) for name in called],
            "spot_nodes": {"key": "cloud.example/spot", "value": "true"},
            "service_account": draw(st.none() | names),
            "image_pull_secrets": draw(st.lists(names, max_size=1)),
            "secrets": draw(st.lists(names, max_size=2, unique=True)),
            "environment": draw(st.dictionaries(st.sampled_from(["AWS_REGION", "OMP_NUM_THREADS"]), names)),
            "volumes": draw(st.sampled_from([[], [{"claim": "datasets", "path": "/data", "read_only": True}]])),
            "redis": draw(st.sampled_from([None, {"address": "redis:6379"}, {"address": "r:1", "password": password}])),
            "queue": queue,
            "run_as_user": draw(st.integers(1, 65535)),
            "retries": draw(st.integers(0, 5)),
            "deadline_s": draw(st.none() | st.integers(1, 10**6)),
            "ttl_s": draw(st.integers(0, 10**6)),
        }
    )


def package(**files: bytes) -> JobPackage:
    """A job's package with these files beside its spec."""
    return JobPackage(
        name="nightly",
        files={SPEC_NAME: b"job: predict\n"} | files,
        arguments=("run", SPEC_NAME, "--progress", "--json"),
        output="s3://bucket/labels",
    )
