"""Machines vanish: nodes of a Ray cluster are killed in mid-run. What else is killed, `tests/faults/chaos.py` kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.job import MODEL, Job, digits, write_tar
from vision_batch.ledger.verify import verify

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SHARDS = 24


@contextmanager
def cluster_of_three(*, cpus: int = 2) -> Iterator[tuple[Any, list[Any]]]:
    """A head that does no work, as on Kubernetes, and two nodes that do."""
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="vb-") as folder:
        head = {"num_cpus": 0, "temp_dir": folder, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster, [cluster.add_node(num_cpus=cpus) for _ in range(2)]
        finally:
            cluster.shutdown()


def kill(node: Any) -> None:
    """kill -9 of all of a node's own processes: raylet and agents, and for the head the GCS."""
    for processes in node.all_processes.values():
        for process in processes:
            process.process.send_signal(signal.SIGKILL)


def slow_job(job: Callable[..., Job], call_s: float) -> Job:
    """Its model takes so long for each call."""
    it = job(code=MODEL.replace("return self.layers", f"import time; time.sleep({call_s})\n        return self.layers"))
    for number in range(SHARDS):
        write_tar(it.data / f"{number:02d}.tar", digits(20))
    return it


@contextmanager
def running(job: Job, address: str, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """The run command on a cluster, from the moment that it has committed something."""
    options = [part for override in ("compute.batch_size=5", *overrides) for part in ("-o", override)]
    command = [sys.executable, "-m", "vision_batch", "run", str(job.spec), "--json", "--address", address, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while len(list(job.output.glob("*.parquet"))) < 3:
                assert process.poll() is None, process.communicate()
                time.sleep(0.1)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("layout", ["joined", pytest.param("split", marks=pytest.mark.slow)])
def test_a_node_that_vanishes_costs_no_row(job: Callable[..., Job], layout: str) -> None:
    it = slow_job(job, 0.2)
    actors = ("compute.predictors=2", f"compute.layout={layout}", *(["compute.preprocessors=2"] * (layout == "split")))
    with (
        cluster_of_three(cpus=2 if layout == "joined" else 4) as (cluster, nodes),  # the other node has room for all
        running(it, cluster.address, *actors) as run,
    ):
        kill(nodes[0])
        out, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert (summary["status"], summary["images_ok"]) == ("done", SHARDS * 20)
    assert it.table().num_rows == SHARDS * 20
    assert verify(str(it.output), deep=True).ok


@pytest.mark.slow  # Ray gives a lost head a minute
def test_a_head_that_vanishes_ends_the_run_with_an_error_and_what_is_committed_stays(job: Callable[..., Job]) -> None:
    it = slow_job(job, 5)
    with cluster_of_three() as (cluster, _), running(it, cluster.address) as run:
        kill(cluster.head_node)
        out, err = run.communicate(timeout=240)
    assert run.returncode == 1, err
    assert "error: this run's process was ended without a word: by Ray" in err
    assert json.loads(out.splitlines()[-1])["status"] == "failed"
    committed = it.table().num_rows
    assert 0 < committed < SHARDS * 20
    resumed = it.run(None)
    assert (resumed.status, resumed.images_resumed, resumed.images_ok) == ("done", committed, SHARDS * 20)
    assert verify(str(it.output), deep=True).ok
