"""A run on a cluster of several nodes, from S3 to S3: nodes come late, come more, and vanish."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import S3Bucket
from tests.integration.job import Job
from tests.integration.nodes import (
    Told,
    cluster,
    demand_exact,
    images_by,
    kill,
    named_node,
    parts,
    running,
    short_id,
    stages_by_node,
    tars,
)
from vision_batch.errors import NotFoundError
from vision_batch.storage.table import storage_for

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.timeout(600)]

SHARDS, IMAGES = 40, 10


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@pytest.fixture
def s3_job(job: Callable[..., Job], rgw_s3: S3Bucket) -> Callable[..., Job]:
    """Makes a job whose input and output are on S3."""

    def make(**settings: Any) -> Job:
        it = job(input={"uri": f"{rgw_s3.uri}/data/"}, output={"uri": f"{rgw_s3.uri}/out"}, **settings)
        tars(it, lambda name, data: storage_for(rgw_s3.uri).put(f"{rgw_s3.uri}/data/{name}", data), SHARDS, IMAGES)
        return it

    return make


def test_a_run_waits_for_a_gpu_uses_nodes_that_come_and_loses_nothing_with_one_that_vanishes(
    s3_job: Callable[..., Job], rgw_s3: S3Bucket, told: Told
) -> None:
    it, output = s3_job(code=told.code("model")), f"{rgw_s3.uri}/out"
    with cluster() as ray, running(it, ray.address, "compute.gpus_per_predictor=1") as run:
        run.until(lambda: "waiting for 1 GPU: no node has that many" in run.said)
        nodes = [named_node(ray, name, gpus=1) for name in ("first", "second")]
        run.until(lambda: told.called_on("first") and told.called_on("second"))
        kill(nodes[0])
        nodes.append(named_node(ray, "third", gpus=1))
        run.until(lambda: told.called_on("third"))
        told.hurry()
        summary = run.summary()
    assert (summary["status"], summary["images_ok"]) == ("done", SHARDS * IMAGES)
    assert images_by("node", output, summary["run_id"]).keys() == {short_id(node) for node in nodes}
    demand_exact(output, SHARDS, IMAGES)


@pytest.mark.slow
def test_a_run_that_waits_ends_in_order_when_it_is_told_to(s3_job: Callable[..., Job], rgw_s3: S3Bucket) -> None:
    with cluster() as ray, running(s3_job(), ray.address) as run:
        run.until(lambda: "waiting for 1 CPU: no node has that many" in run.said)
        run.terminate()
        code, out = run.ended(20)
    assert (code, json.loads(out.splitlines()[-1])["status"]) == (130, "interrupted")
    with pytest.raises(NotFoundError):
        storage_for(rgw_s3.uri).stat(f"{rgw_s3.uri}/out/_ledger/lease")


@pytest.mark.slow  # what is lost is waited for, a minute
def test_cpu_nodes_decode_for_a_gpu_node_and_when_that_vanishes_the_run_waits_for_another_one(
    s3_job: Callable[..., Job], rgw_s3: S3Bucket, told: Told
) -> None:
    preprocess = {"resize_px": [28, 28], "function": "model_code:look"}
    it, output = s3_job(code=told.code("preprocess"), preprocess=preprocess), f"{rgw_s3.uri}/out"
    with cluster() as ray:
        nodes = [named_node(ray, "gpu", cpus=3, gpus=1), *(named_node(ray, name, cpus=2) for name in ("one", "two"))]
        with running(it, ray.address) as run:
            run.until(lambda: all(told.called_on(name) for name in ("gpu", "one", "two")) and parts(output) > 3)
            kill(nodes[0])
            told.hurry()
            run.until(lambda: "waiting for 1 GPU: no node has that many" in run.said)
            run.until(lambda: '"waiting": "for 1 GPU"' in run.said)
            nodes.append(named_node(ray, "late", cpus=3, gpus=1))
            summary = run.summary()
    assert (summary["status"], summary["images_ok"]) == ("done", SHARDS * IMAGES)
    stages = stages_by_node(output, summary["run_id"])
    assert stages.keys() == {short_id(node) for node in nodes}  # nothing was done on the head
    assert ["model" in stages[short_id(node)] for node in nodes] == [True, False, False, True]
    assert all("decode" in stages[short_id(node)] for node in nodes[:3])
    demand_exact(output, SHARDS, IMAGES)
