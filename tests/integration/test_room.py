"""A run that has no room on its cluster waits for it, and says what for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import ray

from vision_batch.errors import HeldError
from vision_batch.inference import room
from vision_batch.inference.layout import Place, Resources
from vision_batch.inference.lever import Setting
from vision_batch.inference.room import MISSING, TAKEN, setting_with_room
from vision_batch.inference.settings import ComputeSettings

pytestmark = pytest.mark.ray


@pytest.fixture
def connected(ray_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """To a node with four CPUs and two GPUs."""
    monkeypatch.setattr(room, "LOOK_S", 0.3)
    ray.init(address=ray_address, log_to_driver=False)
    yield
    ray.shutdown()


def setting(**compute: object) -> Setting:
    return Setting(resources=Resources(nodes=()), compute=ComputeSettings.model_validate(compute), shards=10)


def unexpected(place: Place, reason: str) -> None:
    pytest.fail(f"waits for {place}: {reason}")


class Holder:
    """An actor of somebody else's."""


def test_what_others_have_is_waited_for(connected: None) -> None:
    holder: Any = ray.remote(Holder).options(num_gpus=2).remote()
    ray.get(holder.__ray_ready__.remote())
    told: list[tuple[str, str]] = []

    def waiting(place: Place, reason: str) -> None:
        told.append((str(place), reason))
        if len(told) == 2:
            ray.kill(holder)

    found = setting_with_room(setting(predictors=4, gpus_per_predictor=2), waiting)
    assert told[:2] == [("2 GPUs and 4 CPUs", TAKEN)] * 2
    assert (found.resources.gpus, found.layout().predictors, found.layout().wanted) == (2, 1, 4)


def test_where_others_have_a_part_of_a_node_the_rest_will_do_and_never_without_a_gpu(connected: None) -> None:
    cpu: Any = ray.remote(Holder).options(num_cpus=1).remote()
    ray.get(cpu.__ray_ready__.remote())
    found = setting_with_room(setting(predictors=1), unexpected)
    assert str(found.layout().place) == "1 GPU and 3 CPUs"
    gpus: Any = ray.remote(Holder).options(num_cpus=0, num_gpus=2).remote()
    ray.get(gpus.__ray_ready__.remote())
    found = setting_with_room(setting(predictors=1), lambda place, reason: ray.kill(gpus))
    assert str(found.layout().place) == "1 GPU and 3 CPUs"
    ray.kill(cpu)


def test_what_no_node_has_is_waited_for_until_somebody_wants_no_more(connected: None) -> None:
    def waiting(place: Place, reason: str) -> None:
        assert (str(place), reason) == ("3 GPUs", MISSING)
        raise HeldError("another run has the output")

    with pytest.raises(HeldError):
        setting_with_room(setting(gpus_per_predictor=3), waiting)


def test_where_there_is_room_nobody_waits(connected: None) -> None:
    assert setting_with_room(setting(), unexpected).layout().predictors == 2
