"""What monitoring is told of a run while it works, added up from events: no Ray, no clock.

The numbers are for watching: what is done stands in the output. Their labels are words from small fixed sets, never
anything of an image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vision_batch.inference.load import loads_on, measure_demand
from vision_batch.inference.stopwatch import NOTHING, Lap

if TYPE_CHECKING:
    from vision_batch.inference.event import Event
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric: its name for monitoring, what it says, and the label that it has beside the spec's name, if any."""

    name: str
    about: str
    label: str = ""


IMAGES = Measure(name="vision_batch_images", about="Images whose row was computed, error rows among them")
FAILED_IMAGES = Measure(name="vision_batch_failed_images", about="Error rows, by error code", label="code")
INPUT_BYTES = Measure(name="vision_batch_input_bytes", about="Size of the shards that were finished, in bytes")
STAGE_SECONDS = Measure(
    name="vision_batch_stage_seconds",
    about="Seconds of threads in a stage: its rate is how many are busy",
    label="stage",
)
COUNTERS = (IMAGES, FAILED_IMAGES, INPUT_BYTES, STAGE_SECONDS)
"""What only grows while a run works."""

IMAGES_LEFT = Measure(name="vision_batch_images_left", about="Images without a row, about; only while a run works")
IMAGES_PER_SECOND = Measure(name="vision_batch_images_per_second", about="Images whose row was computed in a second")
BUSY_SHARE = Measure(
    name="vision_batch_busy_share", about="How much of a part of the layout is busy: 1 is all of it", label="part"
)
GPUS = Measure(name="vision_batch_gpus", about="GPUs that the run's predictors hold")
GAUGES = (IMAGES_LEFT, IMAGES_PER_SECOND, BUSY_SHARE, GPUS)
"""What is as it is now."""

Reading = Mapping[tuple[Measure, str], float]
"""Amounts by measure and the value of its label."""


class LiveTally:
    """Adds up the events of one run between readings: O(workers + shards in work)."""

    def __init__(self) -> None:
        self._grown: defaultdict[tuple[Measure, str], float] = defaultdict(float)
        self._laps: dict[str, Lap] = {}
        self._reported: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._left = 0
        self._layout: Layout | None = None

    def begin_pass(self, layout: Layout, works: Sequence[Work]) -> None:
        """From now on events are of these works, done by this layout."""
        self._layout = layout
        self._reported.clear()
        self._laps.clear()
        self._sizes = {work.shard.key: work.shard.size_bytes for work in works}

    def expect(self, left: int) -> None:
        """About `left` images are still to be done."""
        self._left = max(0, left)

    def add(self, event: Event) -> None:
        """Counts one event. A worker's first lap holds its start, so that it says nothing of how busy it is."""
        for worker, lap in event.laps.items():
            for stage, spent in lap.stages.items():
                self._grown[STAGE_SECONDS, stage] += spent.wall_s
            if worker in self._reported:
                self._laps[worker] = self._laps.get(worker, NOTHING) + lap
            self._reported.add(worker)
        for code, count in event.errors.items():
            self._grown[FAILED_IMAGES, code] += count
        if event.kind == "progress":
            self._grown[IMAGES, ""] += event.images
            self.expect(self._left - event.images)
        elif event.kind == "part" and event.last:
            self._grown[INPUT_BYTES, ""] += self._sizes.pop(event.shard, 0)

    def read(self, seconds: float) -> tuple[Reading, Reading]:
        """By how much the counters have grown in the `seconds` since the last reading, and what the gauges say now.

        How busy the layout is stays unsaid where no worker has reported since.
        """
        grown, self._grown = self._grown, defaultdict(float)
        laps, self._laps = self._laps, {}
        now: dict[tuple[Measure, str], float] = {
            (IMAGES_LEFT, ""): self._left,
            (IMAGES_PER_SECOND, ""): grown.get((IMAGES, ""), 0.0) / seconds,
        }
        if self._layout is not None:
            now[GPUS, ""] = self._layout.predictors * self._layout.gpus_per_predictor
            demand = measure_demand(laps, self._layout, seconds)
            loads = {} if demand is None else loads_on(self._layout, demand)
            now.update({(BUSY_SHARE, part): load.share for part, load in loads.items()})
        return {key: amount for key, amount in grown.items() if amount > 0}, now
