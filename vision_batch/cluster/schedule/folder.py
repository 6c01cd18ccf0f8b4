"""The folder of the specs that are served: which of them have a schedule, and which cannot be taken as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.schedule.schedule import Refusal
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.errors import SpecError

ENDINGS = (".yaml", ".yml")
READ_AGAIN = timedelta(minutes=1)
"""Also when no file has changed: what a spec names may lie elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledSpec:
    """A good spec with a `schedule:` block, from the file at `path`."""

    path: str
    name: str
    settings: ScheduleSettings
    package: JobPackage


ReadSpec = Callable[[Path], ScheduledSpec | None]
"""None for a spec without a schedule; SpecError for what is no good spec, or cannot run on the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the folder holds. `refusals` may name the folder itself, when it cannot be listed."""

    specs: tuple[ScheduledSpec, ...]
    refusals: tuple[Refusal, ...]


class SpecFolder:
    """The specs directly in `folder`."""

    def __init__(self, folder: Path, read: ReadSpec) -> None:
        self.path = folder.absolute()
        self._read = read
        self._seen: tuple[object, ...] | None = None
        self._seen_at: datetime | None = None

    def look(self, now: datetime) -> Reading | None:
        """What it holds; None when nothing has changed since the last look."""
        try:
            seen = tuple(self._files())
        except OSError as error:
            self._seen = None
            return Reading(specs=(), refusals=(Refusal(path=str(self.path), problem=str(error)),))
        if seen == self._seen and self._seen_at is not None and timedelta(0) <= now - self._seen_at < READ_AGAIN:
            return None
        self._seen, self._seen_at = seen, now
        specs, refusals = [], []
        for path in (self.path / name for name, *_ in seen if name.endswith(ENDINGS)):
            try:
                spec = self._read(path)
            except SpecError as error:
                refusals.append(Refusal(path=str(path), problem=str(error)))
            else:
                specs += [spec] if spec else []
        return Reading(specs=tuple(specs), refusals=tuple(refusals))

    def _files(self) -> Iterator[tuple[str, int, int, int]]:
        """Name, time of change in ns, size in bytes and inode of the specs and of the code beside them, by name."""
        for path in sorted(self.path.iterdir()):
            if path.name.endswith((*ENDINGS, ".py")) and path.is_file():
                status = path.stat()
                yield path.name, status.st_mtime_ns, status.st_size, status.st_ino
