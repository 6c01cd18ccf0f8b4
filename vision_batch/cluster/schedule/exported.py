"""What `schedule export` has to say of one spec, whatever it is written for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vision_batch.cluster.schedule.settings import ScheduleSettings

STOP_S = 30
"""An interrupted run ends within 20 s; so long it is left before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSchedule:
    """A spec's schedule. `spec` is the spec's absolute path; `name` can be part of a file's name."""

    name: str
    spec: Path
    settings: ScheduleSettings

    @property
    def title(self) -> str:
        """The spec, on one line."""
        return " ".join(str(self.spec).split())

    @property
    def command(self) -> list[str]:
        """Runs the spec with this installation, whatever the current folder holds, for its schedule's latest time."""
        return [sys.executable, "-P", "-m", "vision_batch", "run", str(self.spec), "--scheduled-time", "latest"]

    def differences(self) -> Iterator[str]:
        """What the spec asks for and only `schedule serve` does, whatever else starts the runs."""
        settings = self.settings
        if settings.overlap != "skip":
            yield f"overlap: {settings.overlap} is not done: what falls due while a run is going is skipped"
        if settings.retries.limit:
            yield "retries are not done: the next run resumes what failed"
        if settings.on_failure:
            yield f"on_failure is not done: nobody tells {settings.on_failure}"
