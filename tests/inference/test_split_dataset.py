"""A pass of the split layout is given up where it would only wait for nodes that are gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vision_batch.errors import EngineError
from vision_batch.inference import split_dataset
from vision_batch.inference.joined_pool import AWAY_S
from vision_batch.inference.room import LOOK_S
from vision_batch.inference.split_dataset import Hearing, Lookout


class Scene:
    """A clock and the nodes that live."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.nodes = {"a": {"CPU": 4.0}, "b": {"CPU": 4.0}}


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene()
    monkeypatch.setattr(split_dataset.time, "monotonic", lambda: scene.now)
    monkeypatch.setattr(split_dataset, "live_nodes", lambda: scene.nodes)
    return scene


@pytest.fixture
def after(scene: Scene) -> Callable[[float], None]:
    """Lets so many seconds pass, in which nothing is heard."""
    hearing = Hearing()
    lookout = Lookout(hearing)

    def passes(seconds: float) -> None:
        scene.now += seconds
        lookout.on_execution_step(None)

    return passes


def test_silence_alone_is_a_slow_model(after: Callable[[float], None]) -> None:
    after(10 * AWAY_S)


def test_a_node_that_is_gone_is_waited_for_as_long_as_anything_is_heard(
    scene: Scene, after: Callable[[float], None]
) -> None:
    scene.nodes = {"a": {}, "c": {}}
    after(AWAY_S - LOOK_S)
    with pytest.raises(EngineError, match="a node is gone"):
        after(LOOK_S)


def test_a_node_that_comes_takes_nothing_away(scene: Scene, after: Callable[[float], None]) -> None:
    scene.nodes = {**scene.nodes, "c": {}}
    after(2 * AWAY_S)


@pytest.mark.parametrize(
    ("nodes", "selector"),
    [
        ({"a": {"CPU": 1.0}}, {}),
        ({"head": {"CPU": 0.0}, "a": {"CPU": 1.0}}, {"ray.io/node-id": "!in(head)"}),
        ({"head": {}, "other": {}, "a": {"CPU": 1.0}}, {"ray.io/node-id": "!in(head,other)"}),
    ],
)
def test_no_actor_is_on_a_node_that_is_to_do_no_work(scene: Scene, nodes: Any, selector: dict[str, str]) -> None:
    scene.nodes = nodes
    assert split_dataset._where_work_is_done() == selector
