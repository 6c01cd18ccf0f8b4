"""A Ray cluster for the session, and small jobs on real digits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fault_proxy import FaultProxy
from tests.integration.job import Job
from tests.integration.node_metrics import NodeMetrics
from tests.integration.ray_head import RayHead, running_head
from tests.object_store.servers import S3Server


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitCluster:
    """A cluster to which jobs are submitted; it reaches the moto server through `storage`."""

    head: RayHead
    storage: FaultProxy


@pytest.fixture(scope="session")
def submit_cluster(moto: S3Server) -> Iterator[SubmitCluster]:
    """Started once; a test that gives the storage rules takes them away again."""
    with (
        FaultProxy(moto.address) as storage,
        running_head(moto.environment() | {"AWS_ENDPOINT_URL": storage.endpoint}) as head,
    ):
        yield SubmitCluster(head=head, storage=storage)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A cluster of one node with four CPUs and two logical GPUs, in a folder of its own."""
    import ray
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="vb-") as folder:
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 4, "num_gpus": 2, "temp_dir": folder, "include_dashboard": False},
        )
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="session")
def ray_address(ray_cluster: Any) -> str:
    """Where that cluster is."""
    return str(ray_cluster.address)


@pytest.fixture(scope="session")
def ray_metrics(ray_cluster: Any) -> NodeMetrics:
    """What monitoring would fetch from its node, which answers from now on."""
    metrics = NodeMetrics(f"http://127.0.0.1:{ray_cluster.head_node.metrics_export_port}/metrics")
    metrics.wait()
    return metrics


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """Makes a job in the test's own folder; keyword arguments are merged into its spec."""

    def make(**settings: Any) -> Job:
        return Job(tmp_path, settings)

    return make
