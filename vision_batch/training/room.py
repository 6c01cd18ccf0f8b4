"""Waiting until the connected cluster has room for a training's workers, and looking whether it has room for more.

Placement groups wait, so that an autoscaler knows what is missing. Ray Train's own elastic policy is not used: it
counts nodes that are about to go and what others have taken, and it ends workers without a checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ray._private.state import available_resources_per_node, state
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from vision_batch.inference.layout import room
from vision_batch.inference.room import resources_of
from vision_batch.training.layout import TrainLayout

POLL_S = 0.5
FREED_S = 2.0
"""What a group that has just ended held is free again, for all to see, after this time."""


class Room:
    """Room for the fewest workers of a layout, and as many more as there is room for up to the most.

    While it is looped over, it waits: an item says that there is no room yet. After that `workers` says how many fit.
    """

    def __init__(self, layout: TrainLayout) -> None:
        self._layout = layout
        self.workers = 0

    def __iter__(self) -> Iterator[None]:
        fewest, most = self._layout.workers
        held = _reserve(self._layout, fewest)
        try:
            while not held.wait(POLL_S):
                yield
            self.workers = fewest
            deadline = time.monotonic() + FREED_S
            while self.workers < most:
                self.workers = min(most, fewest + _places_free(self._layout))
                if time.monotonic() >= deadline:
                    break
                time.sleep(0.1)
        finally:
            remove_placement_group(held)


class Growth:
    """Whether there is room for one worker more than a group has; asks for it as long as it is open."""

    def __init__(self, layout: TrainLayout, workers: int) -> None:
        self._held = _reserve(layout, 1) if workers < layout.workers[1] else None

    @property
    def has_room(self) -> bool:
        return self._held is not None and bool(self._held.wait(0))

    def close(self) -> None:
        if self._held is not None:
            remove_placement_group(self._held)
            self._held = None


def _reserve(layout: TrainLayout, workers: int) -> PlacementGroup:
    """Asks for room for so many workers, and a preprocessor for each in the split layout, without which none learns."""
    place = layout.place
    bundles: list[dict[str, float]] = [{"CPU": place.cpus} | ({"GPU": place.gpus} if place.gpus else {})]
    if layout.preprocessors:
        bundles.append({"CPU": layout.cpus_per_preprocessor})
    made: PlacementGroup = placement_group(bundles * workers, strategy="PACK", name="room")
    return made


def _places_free(layout: TrainLayout) -> int:
    """How many workers more have room on the nodes that stay."""
    leaving = state.get_draining_nodes()
    free: dict[str, dict[str, Any]] = available_resources_per_node()  # type: ignore[no-untyped-call]
    there = resources_of(has for node, has in free.items() if node not in leaving)
    return min(room(there, layout.place), there.cpus // (layout.cpus_per_worker + layout.cpus_per_preprocessor))
