"""The rights that the manifests give to whoever submits are those that submitting and looking after jobs take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster.kuberay_profiles import SMALL, package
from tests.cluster.kubernetes_server import TOKEN, KubernetesServer, kubernetes_server
from tests.infra.kustomize import render
from vision_batch.cluster.kuberay_jobs import KubeRayJobs
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.kubernetes_api import KubernetesApi

JOB = "nightly-20261121T033000Z"
OVERLAYS = Path(__file__).parent.parent.parent / "infra" / "kubernetes" / "overlays"
VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}

Right = tuple[str, str, str]
"""A group of the API, a resource, a verb."""


def given(overlay: str) -> set[Right]:
    """What the roles of an overlay allow; all of them are bound to the account of submitters."""
    return {
        (group, resource, verb)
        for found in render(OVERLAYS / overlay)
        if found["kind"] == "Role"
        for rule in found["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def taken(request: str) -> Right:
    """The right that a request to the API takes."""
    method, _, url = request.partition(" ")
    api, _, path = urlsplit(url).path.strip("/").partition("/namespaces/")
    _, resource, *name = path.split("/")
    group = "" if api == "api/v1" else api.split("/")[1]
    verb = VERBS.get(method) or ("get" if name else "list")
    return group, "/".join([resource, *name[1:]]), verb


def look_after_a_job(server: KubernetesServer, **change: object) -> None:
    """Submits a job, and does with it all that commands do."""
    from kubernetes.client import ApiClient, Configuration

    profile = KubeRayProfile.model_validate(SMALL | change)
    client = ApiClient(Configuration(host=server.url, api_key={"authorization": f"Bearer {TOKEN}"}))
    service = KubeRayJobs(profile, KubernetesApi(client, profile.namespace))
    service.submit(package(), JOB)
    job = server.only("rayjobs")
    job["status"] = {"jobDeploymentStatus": "Initializing", "rayClusterName": "cluster"}
    server.put("pods", "submitter", namespace=profile.namespace, labels={"job-name": job["metadata"]["name"]})
    server.put(
        "workloads",
        "workload",
        namespace=profile.namespace,
        labels={"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]},
        spec={"active": True},
    )
    server.logs["submitter"] = ["a line"]
    assert [info.job_id for info in service.list()] == [service.info(JOB).job_id]
    assert list(service.logs(JOB, follow=False)) == ["a line"]
    service.stop(JOB)
    server.only("rayjobs")["status"] = {"jobDeploymentStatus": "Suspended"}
    service.forget(JOB)


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with kubernetes_server() as held:
        yield held


@pytest.mark.parametrize(("overlay", "queue"), [("cpu", None), ("kueue", "vision-batch")])
def test_submitters_may_do_what_it_takes_and_nothing_else(
    server: KubernetesServer, overlay: str, queue: str | None
) -> None:
    look_after_a_job(server, queue=queue)
    assert {taken(request) for request in server.requests} == given(overlay)
