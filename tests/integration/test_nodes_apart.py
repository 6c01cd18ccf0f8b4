"""A run on a Ray cluster of machines with addresses of their own, one of which is cut off from the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy
from tests.integration.job import Job
from tests.integration.machines import Network, missing, network
from tests.integration.nodes import Told, images_by, parts, running, tars
from vision_batch.inference.joined_pool import AWAY_S
from vision_batch.ledger.verify import verify
from vision_batch.storage.table import storage_for

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(600)]

SHARDS, IMAGES = 40, 10
LOST_S = 120.0
"""Ray asks a silent node five times, each time for ten seconds, before it counts it as dead."""


@pytest.fixture
def net() -> Iterator[Network]:
    if reason := missing():
        pytest.skip(reason)
    with network() as made:
        yield made


def test_the_works_of_a_machine_that_is_cut_off_are_done_by_the_other(
    net: Network, job: Callable[..., Job], rgw_s3: S3Bucket, tmp_path: Path
) -> None:
    told, output = Told(tmp_path), f"{rgw_s3.uri}/out"
    it = job(code=told.code("model"), input={"uri": f"{rgw_s3.uri}/data/"}, output={"uri": output})
    tars(it, lambda name, data: storage_for(rgw_s3.uri).put(f"{rgw_s3.uri}/data/{name}", data), SHARDS, IMAGES)
    head, one, two = (net.machine(name) for name in ("head", "one", "two"))
    with FaultProxy(rgw_s3.server.address, host=net.address) as bridge:
        s3 = {**rgw_s3.server.environment(), "AWS_ENDPOINT_URL": bridge.endpoint}
        environment = {**s3, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex}
        head.start_ray(environment, "--head", "--port=6379", "--num-cpus=0", "--include-dashboard=false")
        address = f"{head.address}:6379"
        for machine in (one, two):
            machine.start_ray(environment, f"--address={address}", "--num-cpus=1", "--num-gpus=1")
        there = [*one.there, "env", *(f"{name}={value}" for name, value in environment.items())]
        with running(it, address, "compute.gpus_per_predictor=1", there=there) as run:
            run.until(lambda: told.called_on("one") and told.called_on("two"))
            run.until(lambda: parts(output) > 6)  # so that both have told of what they did
            two.cut()
            told.hurry()
            summary = run.summary(LOST_S + AWAY_S)
    assert (summary["status"], summary["images_ok"]) == ("done", SHARDS * IMAGES)
    assert images_by("host", output, summary["run_id"]).keys() == {"one", "two"}
    audit = verify(output, deep=True)
    assert (audit.ok, audit.rows) == (True, SHARDS * IMAGES)
