"""One run of a schedule: a row of its history, from the moment that it is due to its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

RunState = Literal["due", "submitted", "running", "done", "failed", "stopped", "skipped", "replaced"]
"""Due, submitted (its job may be at the cluster or not yet), running (it is there), and then one of ENDED.

From submitted and running a run may become due again, for another attempt.
"""
STATES: tuple[RunState, ...] = get_args(RunState)
RunKind = Literal["scheduled", "caught_up", "manual"]
Ending = Literal["deadline", "replaced"]
Notice = Literal["none", "owed", "given", "failed"]

ENDED: frozenset[RunState] = frozenset(("done", "failed", "stopped", "skipped", "replaced"))
"""States that do not change any more."""
WITH_A_JOB: frozenset[RunState] = frozenset(("submitted", "running"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRun:
    """A run, known by its schedule and its time; all times are UTC, in whole seconds.

    `attempt` counts the jobs that were submitted for it, and `job_id` is the last one's; each resumes the one before.
    A run that is due starts at `not_before` or later; one with a job was begun then. `ending` says why its job is being
    stopped, and `stop_sent` when the job was told so. `notice` is what became of the notification of a failure.
    """

    schedule: str
    scheduled_time: datetime
    kind: RunKind
    state: RunState
    message: str = ""
    attempt: int = 0
    job_id: str | None = None
    exit_code: int | None = None
    created: datetime
    not_before: datetime
    started: datetime | None = None
    ended: datetime | None = None
    ending: Ending | None = None
    stop_sent: datetime | None = None
    notice: Notice = "none"

    @property
    def is_over(self) -> bool:
        """Whether it has ended: nothing of it changes any more but the notice."""
        return self.state in ENDED

    def as_dict(self) -> dict[str, Any]:
        """For JSON: times are texts like `2026-11-21T03:30:00Z`."""
        return {key: to_text(value) if isinstance(value, datetime) else value for key, value in asdict(self).items()}


def to_text(moment: datetime) -> str:
    """`2026-11-21T03:30:00Z`: such texts sort as their moments do."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def from_text(text: str) -> datetime:
    """The moment that `to_text` wrote. Raises ValueError."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
