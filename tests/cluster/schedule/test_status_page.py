"""What monitoring gets from a server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.schedule.world import BEGIN, World
from vision_batch.cluster.schedule.status_page import metrics, status_page
from vision_batch.errors import SpecError


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.spec("0 * * * *")
    world.tick()
    yield world
    world.store.close()


def values(world: World) -> dict[str, float]:
    """The samples, by name and state; there is one schedule."""
    found = {}
    for family in text_string_to_metric_families(metrics(world.store, world.time)):
        for sample in family.samples:
            assert sample.labels.get("schedule", "nightly") == "nightly"
            short = sample.name.removeprefix("vision_batch_schedule_")
            found[" ".join([short, sample.labels.get("state", "")]).strip()] = sample.value
    return found


def test_before_the_first_run(world: World) -> None:
    found = values(world)
    assert "last_success_timestamp_seconds" not in found
    assert found["lag_seconds"] == 0
    assert found["next_timestamp_seconds"] == (BEGIN + timedelta(hours=1)).timestamp()
    assert (found["runs done"], found["paused"], found["refused_specs"]) == (0, 0, 0)


def test_after_a_good_run_and_bad_ones(world: World) -> None:
    world.jobs.course = lambda job_id: (timedelta(minutes=5), 0 if "T13" in job_id else 2)
    world.run_for(1.5)
    good = values(world)
    assert good["last_success_timestamp_seconds"] == (BEGIN + timedelta(minutes=65)).timestamp()
    assert good["lag_seconds"] == 0
    world.run_for(2)
    bad = values(world)
    assert bad["last_success_timestamp_seconds"] == good["last_success_timestamp_seconds"]
    assert bad["lag_seconds"] == 90 * 60
    assert (bad["runs done"], bad["runs failed"]) == (1, 2)


def test_it_is_served(world: World) -> None:
    well = [True]
    with status_page("127.0.0.1:0", world.state, lambda: well[0], world.now) as port:
        address = f"http://127.0.0.1:{port}"
        with urlopen(f"{address}/metrics", timeout=10) as answer:
            assert answer.read().decode() == metrics(world.store, world.time)
        with urlopen(f"{address}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
        well[0] = False
        for path, status in (("/healthz", 503), ("/other", 404)):
            with pytest.raises(HTTPError) as caught:
                urlopen(address + path, timeout=10)
            assert caught.value.code == status
            caught.value.close()


@pytest.mark.parametrize("address", ["9180", "127.0.0.1:", "127.0.0.1:99999", "nowhere.invalid:80"])
def test_an_address_that_cannot_be_had(world: World, address: str) -> None:
    with pytest.raises(SpecError, match="--address"), status_page(address, world.state, lambda: True, world.now):
        pass
