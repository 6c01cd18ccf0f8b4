"""Where a run's passes are placed: on this machine at once, on a cluster when there is room."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from vision_batch.errors import HeldError, SpecError
from vision_batch.inference import room
from vision_batch.inference.layout import Node, Place, Resources
from vision_batch.inference.lever import Setting
from vision_batch.inference.settings import ComputeSettings
from vision_batch.jobs.placement import Placement
from vision_batch.jobs.reporter import Silent

GPU_NODE, CPU_NODE = Node(cpus=4, gpus=1), Node(cpus=8)
ONE_GPU = Place(cpus=1, gpus=1.0)


class Listener(Silent):
    """Keeps what is said, and what the run is said to wait for."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.waits: list[str | None] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def wait(self, what: str | None) -> None:
        self.waits.append(what)


class Cluster:
    """What nodes there are, and how often a run looks before there is room."""

    def __init__(self) -> None:
        self.nodes: tuple[Node, ...] = (GPU_NODE, GPU_NODE)
        self.looks = 0

    def setting_with_room(self, setting: Setting, waiting: Callable[[Place, str], None]) -> Setting:
        for _ in range(self.looks):
            waiting(ONE_GPU, "nobody knows why")
        return Setting(resources=Resources(nodes=self.nodes), compute=setting.compute, shards=9, partly=True)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(room, "setting_with_room", cluster.setting_with_room)
    monkeypatch.setattr(room, "cluster_resources", lambda: Resources(nodes=cluster.nodes))
    return cluster


def placement(listener: Listener, **compute: Any) -> Placement:
    prepared: Any = SimpleNamespace(
        settings=SimpleNamespace(compute=ComputeSettings.model_validate(compute)),
        model_px=(28, 28),
        model=SimpleNamespace(weights_bytes=None),
        answers_per_pixel=0,
    )
    return Placement(prepared, listener)


def test_what_a_run_waits_for_is_noted_once_each_time_and_shown_as_long_as_it_lasts(cluster: Cluster) -> None:
    listener = Listener()
    chosen = placement(listener, gpus_per_predictor=1)
    cluster.looks = 3
    for _ in range(2):
        assert chosen.choose_with_room(shards=9, confirm=lambda: None).gpus_per_predictor == 1
    assert listener.notes == ["waiting for 1 GPU: nobody knows why"] * 2
    assert listener.waits == ["for 1 GPU", "for 1 GPU", "for 1 GPU", None] * 2


def test_a_run_that_has_lost_its_output_waits_no_longer(cluster: Cluster) -> None:
    def lost() -> None:
        raise HeldError("another run has it")

    cluster.looks = 1
    with pytest.raises(HeldError):
        placement(Listener()).choose_with_room(shards=9, confirm=lost)


def test_fewer_predictors_than_asked_for_are_told_of(cluster: Cluster) -> None:
    listener = Listener()
    layout = placement(listener, predictors=5, gpus_per_predictor=1).choose_with_room(shards=9, confirm=lambda: None)
    assert (layout.predictors, layout.wanted) == (2, 5)
    assert listener.notes == ["room for 2 of 5 predictors for now"]


def test_a_run_that_has_found_gpus_does_not_go_on_without_any(cluster: Cluster) -> None:
    chosen = placement(Listener())
    assert chosen.choose_with_room(shards=9, confirm=lambda: None).gpus_per_predictor == 1
    cluster.nodes = (CPU_NODE,)
    with pytest.raises(SpecError, match="gpus_per_predictor: found 1"):  # where the real one would wait
        chosen.choose_with_room(shards=9, confirm=lambda: None)


def test_this_machine_is_not_waited_for() -> None:
    with pytest.raises(SpecError, match="at most 0"):
        placement(Listener(), gpus_per_predictor=1).choose(Resources(nodes=(CPU_NODE,)), shards=9)
