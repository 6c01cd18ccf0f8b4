"""A spec's `schedule:` block: when its job runs by itself. It decides no prediction, and `run` passes it over."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator

from vision_batch.cluster.schedule.cron import parse_cron
from vision_batch.cluster.schedule.duration import parse_duration
from vision_batch.cluster.schedule.times import find_zone
from vision_batch.settings import Settings

Overlap = Literal["skip", "queue", "replace"]
CatchUp = Literal["latest", "all", "none"]


class RetrySettings(Settings):
    """What follows a run that failed and may be resumed: `limit` more attempts, at most.

    `backoff` is the wait before the first, and doubles from one to the next until it is `max_backoff`.
    """

    limit: int = Field(default=3, ge=0, le=100)
    backoff: str = "1m"
    max_backoff: str = "1h"

    @field_validator("backoff", "max_backoff")
    @classmethod
    def _is_a_duration(cls, value: str) -> str:
        parse_duration(value)
        return value

    @property
    def longest_wait(self) -> timedelta:
        """No attempt is waited for longer."""
        return parse_duration(self.max_backoff)

    def wait(self, attempt: int) -> timedelta:
        """How long to wait after `attempt` (from 1) has failed."""
        first, longest = (parse_duration(text).total_seconds() for text in (self.backoff, self.max_backoff))
        return timedelta(seconds=min(first * 2.0 ** (attempt - 1), longest))


class ScheduleSettings(Settings):
    """When to run, and what to do when that does not go to plan.

    `cron` is read on the clock of `timezone`. `overlap`: what a time does that comes while the run before is still
    going. `catch_up`: which of the times run that passed while no server was there. `deadline`: how long a run may
    take from its first attempt's start, retries included; then it is stopped and has failed. `on_failure` names who is
    told: a contact of the server's own configuration.
    """

    cron: str
    timezone: str = "UTC"
    overlap: Overlap = "skip"
    catch_up: CatchUp = "latest"
    deadline: str | None = None
    retries: RetrySettings = Field(default_factory=RetrySettings)
    on_failure: str | None = None

    @field_validator("cron")
    @classmethod
    def _is_a_cron(cls, value: str) -> str:
        try:
            parse_cron(value)
        except ValueError as error:
            raise ValueError(f"a cron expression, as '30 3 * * *'; here: {error}") from error
        return value

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        find_zone(value)
        return value

    @field_validator("deadline")
    @classmethod
    def _is_a_duration(cls, value: str | None) -> str | None:
        if value is not None:
            parse_duration(value)
        return value

    @property
    def longest(self) -> timedelta | None:
        """`deadline` as a length of time."""
        return None if self.deadline is None else parse_duration(self.deadline)
