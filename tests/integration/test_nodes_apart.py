"""Runs on a Ray cluster of machines with addresses of their own: submitted and stopped; cut off from the network."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy
from tests.integration.job import Job
from tests.integration.machines import Machine, missing, network
from tests.integration.nodes import PATIENCE_S, Told, demand_exact, images_by, parts, running, tars
from vision_batch.cli.main import main
from vision_batch.ledger.verify import verify
from vision_batch.storage.table import storage_for

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(600)]

SHARDS, IMAGES = 40, 10
LOST_S = 300.0
"""Ray asks a silent node five times, each time for ten seconds, before it counts it as dead; then a minute passes."""
WAKE_S = 5.0
OPTIONS = ("compute.gpus_per_predictor=1", "compute.batch_size=5")


@dataclass(frozen=True, kw_only=True)
class Machines:
    """A cluster: a head that does no work, and two nodes with a CPU and a logical GPU each."""

    head: Machine
    one: Machine
    two: Machine
    environment: dict[str, str]


@pytest.fixture
def machines(rgw_s3: S3Bucket) -> Iterator[Machines]:
    """They reach the S3 server, which listens on loopback, at this machine's address on their network."""
    if reason := missing():
        pytest.skip(reason)
    with network() as net, FaultProxy(rgw_s3.server.address, host=net.address) as bridge:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**rgw_s3.server.environment(), "AWS_ENDPOINT_URL": bridge.endpoint, "PATH": path}
        head, one, two = (net.machine(name) for name in ("head", "one", "two"))
        head.start_ray(environment, "--head", "--port=6379", "--num-cpus=0", f"--dashboard-host={head.address}")
        for machine in (one, two):
            machine.start_ray(environment, f"--address={head.address}:6379", "--num-cpus=1", "--num-gpus=1")
        yield Machines(head=head, one=one, two=two, environment=environment)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@pytest.fixture
def s3_job(job: Callable[..., Job], rgw_s3: S3Bucket, told: Told) -> Job:
    it = job(code=told.code("model"), input={"uri": f"{rgw_s3.uri}/data/"}, output={"uri": f"{rgw_s3.uri}/out"})
    tars(it, lambda name, data: storage_for(rgw_s3.uri).put(f"{rgw_s3.uri}/data/{name}", data), SHARDS, IMAGES)
    return it


def test_the_works_of_a_machine_that_is_cut_off_are_done_by_the_other(
    machines: Machines, s3_job: Job, rgw_s3: S3Bucket, told: Told
) -> None:
    output, one, two = f"{rgw_s3.uri}/out", machines.one, machines.two
    there = [*one.there, "env", *(f"{name}={value}" for name, value in machines.environment.items())]
    with running(s3_job, f"{machines.head.address}:6379", *OPTIONS, there=there) as run:
        run.until(lambda: told.called_on("one") and told.called_on("two"))
        run.until(lambda: parts(output) > 6)  # so that both have told of what they did
        two.cut()
        told.hurry()
        summary = run.summary(LOST_S)
    assert (summary["status"], summary["images_ok"]) == ("done", SHARDS * IMAGES)
    assert images_by("host", output, summary["run_id"]).keys() == {"one", "two"}
    demand_exact(output, SHARDS, IMAGES)
    two.mend()
    time.sleep(WAKE_S)
    demand_exact(output, SHARDS, IMAGES)


def test_a_job_is_submitted_stopped_and_submitted_again(
    machines: Machines, s3_job: Job, rgw_s3: S3Bucket, told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    output, address = f"{rgw_s3.uri}/out", f"http://{machines.head.address}:8265"
    profile = s3_job.folder / "cluster.yaml"
    profile.write_text(f"kind: ray\naddress: {address}\n")
    options = [part for option in OPTIONS for part in ("-o", option)]

    def typed(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = main([*arguments, "--cluster", str(profile), "--json"])
        out, err = capsys.readouterr()
        sys.stderr.write(err)  # shown where the test fails
        return code, json.loads(out.splitlines()[-1])

    _, begun = typed("submit", str(s3_job.spec), *options)
    deadline = time.monotonic() + PATIENCE_S
    while not (told.called_on("one") and told.called_on("two") and parts(output)):
        assert time.monotonic() < deadline, typed("logs", begun["job_id"])
        time.sleep(0.1)
    token = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    details = requests.get(f"{address}/api/jobs/{begun['job_id']}", headers=token, timeout=30).json()
    assert details["driver_info"]["node_ip_address"] in {machines.one.address, machines.two.address}
    code, stopped = typed("stop", begun["job_id"])
    assert (code, stopped["state"]) == (0, "stopped")
    committed = verify(output).rows
    assert 0 < committed < SHARDS * IMAGES
    told.hurry()
    code, ended = typed("submit", str(s3_job.spec), *options, "--wait")
    assert (code, ended["state"]) == (0, "done")
    assert typed("status", ended["job_id"])[1]["progress"]["images_done"] == SHARDS * IMAGES
    demand_exact(output, SHARDS, IMAGES)
