"""A schedule: what the service knows of one spec with a `schedule:` block."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import datetime

from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.schedule.run import to_text
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.documents.scheduled_time import expand_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`settings` and `package` are those of the last good spec at `path`; without one now, `present` is False.

    The package leaves the time open. `considered`: every time up to this moment has its row already.
    """

    name: str
    path: str
    settings: ScheduleSettings
    package: JobPackage
    considered: datetime
    paused: bool = False
    present: bool = True

    def package_at(self, moment: datetime) -> JobPackage:
        """What is submitted for the run of `moment`."""
        arguments = (*self.package.arguments, "--scheduled-time", to_text(moment))
        output = expand_time(self.package.output, moment)
        return replace(self.package, arguments=arguments, output=output, scheduled_time=moment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A spec that is not taken as it is now: `problem` is for people, in one or more lines."""

    path: str
    problem: str

    def __str__(self) -> str:
        """`refused: …`; further problems have indented lines of their own."""
        return f"refused: {self.path}: {self.problem}".replace("\n", "\n  ")


def package_to_text(package: JobPackage) -> str:
    """A package without a time of its own, as JSON."""
    files = {path: base64.b64encode(data).decode() for path, data in package.files.items()}
    facts = {"name": package.name, "files": files, "arguments": package.arguments, "output": package.output}
    return json.dumps(facts)


def package_from_text(text: str) -> JobPackage:
    """What `package_to_text` wrote. ValueError, TypeError or KeyError for anything else."""
    facts = json.loads(text)
    files = {path: base64.b64decode(data) for path, data in facts["files"].items()}
    return JobPackage(name=facts["name"], files=files, arguments=tuple(facts["arguments"]), output=facts["output"])
