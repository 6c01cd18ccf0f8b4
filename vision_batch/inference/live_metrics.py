"""What a run tells monitoring while it works: metrics of the Ray node that its driver is on, for Prometheus to fetch.

Ray puts `ray_` before their names and `_total` behind those of counters. Each has the label `spec`, the spec's name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ray.util.metrics import Counter, Gauge

from vision_batch.inference.live_tally import COUNTERS, GAUGES, LiveTally, Measure

if TYPE_CHECKING:
    from vision_batch.inference.event import Event
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work

PERIOD_S = 5.0
"""Ray hands on what it is told every 10 s; a driver's last seconds may be missing."""

SPEC = "spec"


class LiveMetrics:
    """One run's metrics, told by a thread of their own during a `with` block; Ray has to be connected.

    Events are only added up where they come in, so that a run is no slower for being watched.
    """

    def __init__(self, spec: str, period_s: float = PERIOD_S) -> None:
        """`spec` is the spec's name."""
        self._spec = spec
        self._period_s = period_s
        self._tally = LiveTally()
        self._lock = threading.Lock()
        self._counters = {measure: Counter(measure.name, measure.about, _labels(measure)) for measure in COUNTERS}
        self._gauges = {measure: Gauge(measure.name, measure.about, _labels(measure)) for measure in GAUGES}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell_on, name="live-metrics", daemon=True)

    def __enter__(self) -> Self:
        self._told = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def begin_pass(self, layout: Layout, works: Sequence[Work], left: int) -> None:
        """From now on events are of these works, done by this layout; about `left` images are still to be done."""
        with self._lock:
            self._tally.begin_pass(layout, works)
            self._tally.expect(left)

    def expect(self, left: int) -> None:
        """The number of images that are still to be done is better known now."""
        with self._lock:
            self._tally.expect(left)

    def add(self, event: Event) -> None:
        with self._lock:
            self._tally.add(event)

    def _tell_on(self) -> None:
        while not self._ended.wait(self._period_s):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        before, self._told = self._told, time.monotonic()
        with self._lock:
            grown, now = self._tally.read(max(self._told - before, 1e-3))
        for (measure, value), amount in grown.items():
            self._counters[measure].inc(amount, self._tags(measure, value))
        for (measure, value), amount in now.items():
            self._gauges[measure].set(amount, self._tags(measure, value))

    def _tags(self, measure: Measure, value: str) -> dict[str, str]:
        return {SPEC: self._spec, **({measure.label: value} if measure.label else {})}


def _labels(measure: Measure) -> tuple[str, ...]:
    return (SPEC, measure.label) if measure.label else (SPEC,)
