"""Machines vanish: nodes of a Ray cluster are killed in mid-run. What else is killed, `tests/faults/chaos.py` kills."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.integration.job import MODEL, Job, digits, write_tar
from tests.integration.nodes import cluster, kill, named_node, running
from vision_batch.ledger.verify import verify

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SHARDS = 24


def slow_job(job: Callable[..., Job], call_s: float) -> Job:
    """Its model takes so long for each call."""
    it = job(code=MODEL.replace("return self.layers", f"import time; time.sleep({call_s})\n        return self.layers"))
    for number in range(SHARDS):
        write_tar(it.data / f"{number:02d}.tar", digits(20))
    return it


def parts(job: Job) -> int:
    return len(list(job.output.glob("*.parquet")))


def test_preprocessors_and_predictors_of_a_node_that_vanishes_start_on_another_one(job: Callable[..., Job]) -> None:
    it = slow_job(job, 0.2)
    with cluster() as ray:
        nodes = [named_node(ray, name, cpus=4) for name in ("one", "two")]  # either has room for all
        layout = ("compute.layout=split", "compute.predictors=2", "compute.preprocessors=2")
        with running(it, ray.address, *layout) as run:
            run.until(lambda: parts(it) >= 3)
            kill(nodes[0])
            summary = run.summary(240)
    assert (summary["status"], summary["images_ok"]) == ("done", SHARDS * 20)
    assert it.table().num_rows == SHARDS * 20
    assert verify(str(it.output), deep=True).ok


def test_a_head_that_vanishes_ends_the_run_with_an_error_and_what_is_committed_stays(job: Callable[..., Job]) -> None:
    it = slow_job(job, 5)
    with cluster() as ray:
        for name in ("one", "two"):
            named_node(ray, name, cpus=2)
        with running(it, ray.address) as run:
            run.until(lambda: parts(it) >= 3)
            kill(ray.head_node)
            code, out = run.ended(240)  # Ray gives a lost head a minute
    assert code == 1, run.said
    assert "error: this run's process was ended without a word: by Ray" in run.said
    assert json.loads(out.splitlines()[-1])["status"] == "failed"
    committed = it.table().num_rows
    assert 0 < committed < SHARDS * 20
    resumed = it.run(None)
    assert (resumed.status, resumed.images_resumed, resumed.images_ok) == ("done", committed, SHARDS * 20)
    assert verify(str(it.output), deep=True).ok
