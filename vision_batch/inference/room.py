"""What the connected cluster has, and waiting until it has room for a predictor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray._private.state import available_resources_per_node

from vision_batch.errors import SpecError
from vision_batch.inference.layout import Node, Place, Resources, missing_place
from vision_batch.inference.lever import Setting

LOOK_S = 2.0
"""How often it is looked whether nodes have come or gone."""

MISSING = "no node has that many; the run goes on when one comes"
TAKEN = "others have what there is; the run goes on when it comes free, or a node comes"


def cluster_resources() -> Resources:
    """What the live nodes of the connected cluster have together, free or not."""
    return resources_of(live_nodes().values())


def _free_resources() -> Resources:
    return resources_of(available_resources_per_node().values())  # type: ignore[no-untyped-call]


def resources_of(nodes: Iterable[Mapping[str, float]]) -> Resources:
    return Resources(
        nodes=tuple(
            Node(cpus=int(has.get("CPU", 0)), gpus=int(has.get("GPU", 0)), memory_bytes=int(has.get("memory", 0)))
            for has in nodes
        )
    )


def live_nodes() -> dict[str, dict[str, float]]:
    """The resources in all of each live node, by its id."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}


def setting_with_room(setting: Setting, waiting: Callable[[Place, str], None]) -> Setting:
    """`setting` on what the connected cluster has, as soon as there is room for one predictor; more need not be there.

    Where others have a part of every node, it is a smaller place, or less than all nodes. Meanwhile `waiting` is told
    what for and why, every few seconds; it may raise. A task of a predictor's size waits with Ray, so that an
    autoscaler knows what is missing. SpecError for what no cluster can place.
    """
    task: Any = None
    wanted: Place | None = None
    has_been_free: Place | None = None
    try:
        while True:
            setting = replace(setting, resources=cluster_resources(), partly=True)
            missing = missing_place(setting.resources, setting.compute)
            place = missing or setting.layout().place
            if missing is None and (place == has_been_free or _is_free(place)):
                return setting
            if place != wanted:
                _give_up(task)
                task, wanted = _task_of(place), place
            if ray.wait([task], timeout=LOOK_S)[0]:
                task, wanted, has_been_free = None, None, place
            elif missing:
                waiting(place, MISSING)
            elif (smaller := _on_what_is_free(setting)) is not None:
                return smaller
            else:
                waiting(place, TAKEN)
    finally:
        _give_up(task)


def _on_what_is_free(setting: Setting) -> Setting | None:
    """With no other GPUs than on the whole cluster: a predictor for which they are taken does not go without."""
    gpus = setting.layout().gpus_per_predictor
    compute = setting.compute.model_copy(update={"gpus_per_predictor": gpus})
    smaller = replace(setting, resources=_free_resources(), compute=compute)
    if missing_place(smaller.resources, compute) is not None:
        return None
    try:
        smaller.layout()
    except SpecError:  # split, and a single CPU
        return None
    return smaller


def _is_free(place: Place) -> bool:
    nodes = available_resources_per_node().values()  # type: ignore[no-untyped-call]
    return any(free.get("CPU", 0) >= place.cpus and free.get("GPU", 0) >= place.gpus for free in nodes)


def _task_of(place: Place) -> Any:
    remote: Any = ray.remote(_nothing)
    return remote.options(num_cpus=place.cpus, num_gpus=place.gpus, max_retries=-1, name="room").remote()


def _nothing() -> None:
    """What is done where there is room: that it was done says so."""


def _give_up(task: Any) -> None:
    if task is not None:
        ray.cancel(task)
