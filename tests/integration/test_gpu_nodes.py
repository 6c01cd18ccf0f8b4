"""CPU nodes feed the predictors of a node whose GPUs have too few CPUs beside them. The GPUs are numbers only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator

import pytest

from tests.integration.job import Job, digits, write_tar
from vision_batch.cluster.connect import connected
from vision_batch.inference.layout import choose_layout
from vision_batch.inference.settings import ComputeSettings

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def address() -> Iterator[str]:
    """A node with two GPUs and two CPUs, and one with four CPUs."""
    import ray
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="vb-") as folder:
        head = {"num_cpus": 2, "num_gpus": 2, "temp_dir": folder, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=4)
        cluster.wait_for_nodes()
        yield cluster.address
        ray.shutdown()
        cluster.shutdown()


def test_what_the_layout_promises_can_be_placed_and_does_the_work(job: Callable[..., Job], address: str) -> None:
    with connected(address) as resources:
        layout = choose_layout(resources, ComputeSettings(), shards=6, output_px=(28, 28))
    assert (layout.name, layout.predictors, layout.preprocessors, layout.cpus_per_preprocessor) == ("split", 2, 1, 4)
    it = job()
    for number in range(6):
        write_tar(it.data / f"{number}.tar", digits(200))
    summary = it.run(address, "compute.batch_size=20")
    assert (summary.status, summary.images_ok) == ("done", 1200)
    pinned = [dict(fact.split("=") for fact in predictor.split()) for predictor in summary.predictors]
    assert {p["gpus"] for p in pinned} <= {"0", "1"}
