"""The manifests are what Kubernetes and its operators take, and let in nobody and nothing that need not be there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.cluster.kuberay_rules import cluster_rules
from tests.infra.kustomize import CLUSTER_SCOPED, Object, identity, render
from tests.infra.validation import validate
from vision_batch import __version__
from vision_batch.cluster.kuberay_pods import pod_labels
from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.cluster.profile import load_profile

ROOT = Path(__file__).parent.parent.parent
OVERLAYS = ROOT / "infra" / "kubernetes" / "overlays"
RENDERED = {folder.name: render(folder) for folder in sorted(OVERLAYS.iterdir())}
EVERY = [pytest.param(found, id=f"{name}-{'-'.join(identity(found))}") for name in RENDERED for found in RENDERED[name]]
STANDING = ["cpu", "gpu"]
"""The overlays with a Ray cluster of their own."""

RAY_NODE = {"ray.io/is-ray-node": "yes"}


def of_kind(overlay: str, kind: str) -> list[Object]:
    return [found for found in RENDERED[overlay] if found["kind"] == kind]


def ray_cluster(overlay: str) -> Object:
    (cluster,) = of_kind(overlay, "RayCluster")
    return dict(cluster["spec"])


def pods(overlay: str) -> Iterator[tuple[str, Object]]:
    """The name of what makes them, and the spec of the pods that an overlay leads to."""
    for found in of_kind(overlay, "StatefulSet"):
        yield found["metadata"]["name"], found["spec"]["template"]["spec"]
    for found in of_kind(overlay, "RayCluster"):
        yield "head", found["spec"]["headGroupSpec"]["template"]["spec"]
        for group in found["spec"]["workerGroupSpecs"]:
            yield group["groupName"], group["template"]["spec"]


PODS = [pytest.param(spec, id=f"{overlay}-{name}") for overlay in RENDERED for name, spec in pods(overlay)]
POLICIES = [
    pytest.param(overlay, found["spec"], id=f"{overlay}-{found['metadata']['name']}")
    for overlay in RENDERED
    for found in of_kind(overlay, "NetworkPolicy")
]


@pytest.mark.parametrize("found", EVERY)
def test_every_object_is_valid(found: Object) -> None:
    validate(found)


@pytest.mark.parametrize("overlay", STANDING)
def test_a_field_that_kuberay_does_not_know_is_noticed(overlay: str) -> None:
    (cluster,) = of_kind(overlay, "RayCluster")
    with pytest.raises(jsonschema.ValidationError, match="autoscaling"):
        validate({**cluster, "spec": {**cluster["spec"], "autoscaling": True}})


@pytest.mark.parametrize("overlay", STANDING)
def test_the_operator_takes_the_cluster(overlay: str) -> None:
    assert list(cluster_rules(ray_cluster(overlay))) == []


@pytest.mark.parametrize("name", RENDERED)
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: nothing to compare with")
def test_kubectl_makes_the_same_of_it(name: str) -> None:
    command = ["kubectl", "kustomize", str(OVERLAYS / name)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert sorted(yaml.safe_load_all(text), key=identity) == sorted(RENDERED[name], key=identity)


@pytest.mark.parametrize("found", EVERY)
def test_objects_are_in_the_namespace_if_they_can_be(found: Object) -> None:
    expected = None if found["kind"] in CLUSTER_SCOPED else "vision-batch"
    assert found["metadata"].get("namespace") == expected


@pytest.mark.parametrize("overlay", RENDERED)
def test_nothing_is_said_twice(overlay: str) -> None:
    names = [identity(found) for found in RENDERED[overlay]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("overlay", RENDERED)
def test_the_namespace_refuses_what_is_not_locked_down(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("spec", PODS)
def test_pods_are_locked_down(spec: Object) -> None:
    """What Kubernetes' own standard `restricted` demands, and a file system that cannot be written."""
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    for container in spec["containers"]:
        locked = container["securityContext"]
        assert locked["allowPrivilegeEscalation"] is False
        assert locked["readOnlyRootFilesystem"] is True
        assert locked["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
    assert all(volume.keys() <= {"name", "emptyDir"} for volume in spec.get("volumes", []))


@pytest.mark.parametrize("spec", PODS)
def test_what_is_mounted_is_there(spec: Object) -> None:
    claimed = {"data"}
    volumes = {volume["name"] for volume in spec.get("volumes", [])} | claimed
    assert {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]} <= volumes


@pytest.mark.parametrize("overlay", STANDING)
def test_the_autoscaler_is_locked_down_as_the_head_is(overlay: str) -> None:
    spec = ray_cluster(overlay)
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    assert spec["autoscalerOptions"]["securityContext"] == head["securityContext"]
    assert spec["autoscalerOptions"]["volumeMounts"] == [
        mount for mount in head["volumeMounts"] if mount["name"] == "tmp"
    ]


@pytest.mark.parametrize("overlay", RENDERED)
def test_secrets_are_named_and_never_written(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for _, spec in pods(overlay):
        for container in spec["containers"]:
            for variable in container.get("env", []):
                is_secret = re.search("PASSWORD|TOKEN|SECRET|KEY", variable["name"])
                assert not (is_secret and "value" in variable), variable["name"]


@pytest.mark.parametrize("overlay", STANDING)
def test_only_the_head_may_ask_kubernetes(overlay: str) -> None:
    accounts = {found["metadata"]["name"]: found for found in of_kind(overlay, "ServiceAccount")}
    for name, spec in pods(overlay):
        account = accounts.get(spec.get("serviceAccountName"), {})
        asks = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken"))
        assert asks is (name == "head"), name


@pytest.mark.parametrize("overlay", RENDERED)
def test_rights_end_at_the_namespace_and_are_for_accounts_of_it(overlay: str) -> None:
    assert not [kind for kind, _ in map(identity, RENDERED[overlay]) if kind.startswith("ClusterRole")]
    accounts = {found["metadata"]["name"] for found in of_kind(overlay, "ServiceAccount")}
    roles = {found["metadata"]["name"] for found in of_kind(overlay, "Role")}
    for binding in of_kind(overlay, "RoleBinding"):
        assert {subject["name"] for subject in binding["subjects"]} <= accounts
        assert binding["roleRef"]["name"] in roles


@pytest.mark.parametrize("overlay", STANDING)
def test_ray_asks_for_its_token(overlay: str) -> None:
    assert ray_cluster(overlay)["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("overlay", STANDING)
def test_versions_are_those_of_the_tests(overlay: str) -> None:
    constraints = (ROOT / "constraints.txt").read_text().split()
    assert f"ray=={ray_cluster(overlay)['rayVersion']}" in constraints
    flavour = {"cpu": "cpu", "gpu": "cuda"}[overlay]
    images = {
        container["image"] for name, spec in pods(overlay) if name != "valkey" for container in spec["containers"]
    }
    assert images == {f"registry.example.com/vision-batch:{__version__}-{flavour}"}


@pytest.mark.parametrize("overlay", STANDING)
def test_the_head_does_no_work(overlay: str) -> None:
    assert ray_cluster(overlay)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("overlay", STANDING)
def test_the_cluster_grows_from_nothing_and_survives_its_head(overlay: str) -> None:
    spec = ray_cluster(overlay)
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert all(group["minReplicas"] == 0 < group["maxReplicas"] for group in spec["workerGroupSpecs"])
    ((_, store),) = (each for each in pods(overlay) if each[0] == "valkey")
    address = spec["gcsFaultToleranceOptions"]["redisAddress"]
    port = store["containers"][0]["ports"][0]["containerPort"]
    (service,) = of_kind(overlay, "Service")
    assert address == f"{service['metadata']['name']}:{port}"
    asked = spec["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"]["secretKeyRef"]
    assert asked == store["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]


@pytest.mark.parametrize("overlay", STANDING)
def test_shared_memory_is_memory_and_part_of_the_limit(overlay: str) -> None:
    for name, spec in pods(overlay):
        if name == "valkey":
            continue
        (container,) = spec["containers"]
        (name,) = (mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm")
        (volume,) = (volume["emptyDir"] for volume in spec["volumes"] if volume["name"] == name)
        assert volume["medium"] == "Memory"
        assert gibibytes(volume["sizeLimit"]) < gibibytes(container["resources"]["limits"]["memory"])


def gibibytes(quantity: str) -> int:
    assert quantity.endswith("Gi")
    return int(quantity.removesuffix("Gi"))


def test_gpu_nodes_have_gpus_and_are_as_locked_down_as_the_others() -> None:
    groups = {group["groupName"]: group["template"]["spec"] for group in ray_cluster("gpu")["workerGroupSpecs"]}
    (gpu,) = groups["gpu"]["containers"]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == gpu["resources"]["requests"]["nvidia.com/gpu"] == "1"
    (cpu,) = groups["cpu"]["containers"]
    assert not any("gpu" in name for name in cpu["resources"]["limits"])
    differs = {key for key in gpu if gpu[key] != cpu[key]}
    assert differs == {"resources"}
    assert groups["gpu"].keys() - groups["cpu"].keys() == {"tolerations"}


@pytest.mark.parametrize("overlay", RENDERED)
def test_the_network_is_closed_to_all_pods_that_nothing_opens_it_for(overlay: str) -> None:
    closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert closed in [policy["spec"] for policy in of_kind(overlay, "NetworkPolicy")]


@pytest.mark.parametrize(("overlay", "policy"), POLICIES)
def test_what_is_open_is_open_to_somebody_or_for_a_port(overlay: str, policy: Object) -> None:
    """An empty rule is open to the world, and so is a peer without a selector."""
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        assert direction.capitalize() in policy["policyTypes"] or direction not in policy
        for rule in policy.get(direction, []):
            assert rule.get(peers)
            for peer in rule.get(peers, []):
                assert peer != {}
                assert peer.get("podSelector") != {}
                selects_pods = peer.get("podSelector") or peer.get("ipBlock")
                assert selects_pods or peer["namespaceSelector"] != {}


@pytest.mark.parametrize(("overlay", "policy"), POLICIES)
@pytest.mark.parametrize("service", ["169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254"])
def test_services_that_hand_out_rights_are_out_of_reach(overlay: str, policy: Object, service: str) -> None:
    """Clouds give whoever asks there the rights of the node or the pod."""
    for rule in policy.get("egress", []):
        for block in (peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer):
            assert not (
                is_in(service, block["cidr"]) and not any(is_in(service, out) for out in block.get("except", []))
            )


def is_in(address: str, network: str) -> bool:
    return ip_address(address) in ip_network(network)


def allowed_from(overlay: str, selector: dict[str, str], port: int | str) -> list[Any]:
    """The peers that may reach `port` of the pods with these labels."""
    peers: list[Any] = []
    for found in of_kind(overlay, "NetworkPolicy"):
        selected = found["spec"]["podSelector"].get("matchLabels", {})
        if not selected.items() <= selector.items():
            continue
        for rule in found["spec"].get("ingress", []):
            ports = [each["port"] for each in rule.get("ports", [])]
            if port in ports or not ports:
                peers += rule["from"]
    return peers


@pytest.mark.parametrize("overlay", RENDERED)
def test_who_may_reach_what(overlay: str) -> None:
    head = {**RAY_NODE, "ray.io/node-type": "head"}
    worker = {**RAY_NODE, "ray.io/node-type": "worker"}
    nodes = {"podSelector": {"matchLabels": RAY_NODE}}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert allowed_from(overlay, worker, 10002) == [nodes]
    assert allowed_from(overlay, head, 6379) == [nodes]
    assert allowed_from(overlay, worker, "metrics") == [nodes, monitoring]
    submitters = [peer for peer in allowed_from(overlay, head, 8265) if peer != nodes]
    assert [peer["podSelector"]["matchLabels"] for peer in submitters] == [
        pod_labels(),
        {"app.kubernetes.io/name": "kuberay-operator"},
    ]


@pytest.mark.parametrize("overlay", STANDING)
def test_prometheus_finds_ports_that_pods_have(overlay: str) -> None:
    (monitor,) = of_kind(overlay, "PodMonitor")
    assert monitor["spec"]["selector"] == {"matchLabels": RAY_NODE}
    asked = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    ports = {
        name: {port["name"] for container in spec["containers"] for port in container["ports"]}
        for name, spec in pods(overlay)
    }
    assert asked <= ports["head"]
    assert all("metrics" in ports[name] for name in ports if name != "valkey")
    (policy,) = (found for found in of_kind(overlay, "NetworkPolicy") if found["metadata"]["name"] == "to-metrics")
    assert {port["port"] for port in policy["spec"]["ingress"][0]["ports"]} == asked


@pytest.mark.parametrize("overlay", RENDERED)
def test_pods_that_submit_reach_heads_and_kubernetes_and_nothing_else(overlay: str) -> None:
    """Those of `vision-batch manifest`: its submitters, and what makes a RayJob every night."""
    (policy,) = (found for found in of_kind(overlay, "NetworkPolicy") if found["metadata"]["name"] == "from-submitters")
    assert policy["spec"]["podSelector"]["matchLabels"] == pod_labels()
    to_heads, to_kubernetes = policy["spec"]["egress"]
    assert to_heads["to"] == [{"podSelector": {"matchLabels": {"ray.io/node-type": "head"}}}]
    assert [port["port"] for port in to_kubernetes["ports"]] == [443, 6443]


def test_the_example_of_a_profile_leads_there() -> None:
    """What cluster/kuberay.yaml names is what the overlays make and the README tells to make."""
    profile = load_profile(str(ROOT / "cluster" / "kuberay.yaml")).settings
    assert isinstance(profile, KubeRayProfile)
    images = {container["image"] for _, spec in pods("gpu") for container in spec["containers"]}
    assert profile.image in images
    assert profile.ray_version == ray_cluster("gpu")["rayVersion"]
    (namespace,) = of_kind("kueue", "Namespace")
    assert profile.namespace == namespace["metadata"]["name"]
    readme = (ROOT / "infra" / "README.md").read_text()
    assert all(f"secret generic {name} " in readme for name in profile.secrets)


def test_queues_lead_to_quota() -> None:
    (queue,), (cluster_queue,) = of_kind("kueue", "LocalQueue"), of_kind("kueue", "ClusterQueue")
    assert queue["spec"]["clusterQueue"] == cluster_queue["metadata"]["name"]
    flavors = {found["metadata"]["name"] for found in of_kind("kueue", "ResourceFlavor")}
    (group,) = cluster_queue["spec"]["resourceGroups"]
    assert {flavor["name"] for flavor in group["flavors"]} == flavors
    for flavor in group["flavors"]:  # Kueue wants the same resources in the same order
        assert [resource["name"] for resource in flavor["resources"]] == group["coveredResources"]
