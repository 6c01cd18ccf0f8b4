"""A cluster that is joined demands a token, and we demand that it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from tests.integration.job import Job, digits, write_folder

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]

OPEN = """
import sys
from ray.cluster_utils import Cluster

head = {"num_cpus": 1, "temp_dir": sys.argv[1], "include_dashboard": False}
print(Cluster(initialize_head=True, head_node_args=head).address, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def open_address() -> Iterator[str]:
    """A cluster that lets anybody in."""
    with tempfile.TemporaryDirectory(prefix="vb-") as folder:
        command = [sys.executable, "-c", OPEN, folder]
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        with subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as cluster:
            assert cluster.stdout is not None
            yield cluster.stdout.readline().strip()
            cluster.communicate()


def plan(job: Job, address: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Plans a job on a cluster, which asks it for its resources; None takes a variable away."""
    variables = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-m", "vision_batch", "plan", str(job.spec), "--address", address, "--json"],
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_wrong_token_and_none_are_told(job: MakeJob, ray_address: str) -> None:
    it = job()
    write_folder(it.data, digits(3))
    wrong = plan(it, ray_address, RAY_AUTH_TOKEN="planted-wrong-token")
    assert wrong.returncode == 2, wrong.stderr
    assert wrong.stderr.startswith("error: --address: found a cluster at 1")
    assert "does not take the token" in wrong.stderr
    assert "planted" not in wrong.stderr + wrong.stdout
    none = plan(it, ray_address, RAY_AUTH_TOKEN=None, RAY_AUTH_MODE=None, HOME=os.devnull)
    assert (none.returncode, "no token for the cluster" in none.stderr) == (2, True), none.stderr


@pytest.mark.slow
def test_a_cluster_that_lets_anybody_in_has_to_be_wanted(job: MakeJob, open_address: str) -> None:
    it = job()
    write_folder(it.data, digits(3))
    refused = plan(it, open_address)
    assert refused.returncode == 2, refused.stderr
    assert f"a cluster at {open_address} that lets anybody in" in refused.stderr
    wanted = plan(it, open_address, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN=None)
    assert wanted.returncode == 0, wanted.stderr
    assert json.loads(wanted.stdout)["layout"]["predictors"] == 1
