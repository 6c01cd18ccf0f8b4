"""The one place of retries: what is tried again, when, and what is said in the end."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from vision_batch.errors import UnavailableError

T = TypeVar("T")
log = logging.getLogger(__name__)

NOTICE_S = 10
"""An operation that fails for so long is worth a line: whoever waits would like to know for what."""


class TransientError(Exception):
    """One attempt failed in a way that may pass; `reason` is a few words, the same for the same kind of failure."""

    def __init__(self, reason: str, *, retry_after_s: float = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Exponential backoff with full jitter: before attempt k + 1 it waits a random part of `first_s` · 2^k.

    No attempt starts after `total_s` seconds or more than `attempts` times. An attempt that runs is never cut short:
    the transport's own time-outs bound it, and a large object may take long without anything being wrong.

    By default time is the bound, not attempts: a server that refuses every connection for a minute is asked about ten
    times meanwhile, and one that takes them and says nothing twice; both are asked again afterwards.
    """

    attempts: int = 100
    first_s: float = 0.2
    longest_s: float = 20
    total_s: float = 120
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    sleep_blocking: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform

    async def run(self, uri: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """The first result of `attempt`; UnavailableError when every one raised TransientError."""
        failures = _Failures(uri, self)
        while True:
            try:
                return await attempt()
            except TransientError as error:
                pause_s = failures.pause_s(error)
            await self.sleep(pause_s)

    def run_blocking(self, uri: str, attempt: Callable[[], T]) -> T:
        """As `run`, for code outside an event loop."""
        failures = _Failures(uri, self)
        while True:
            try:
                return attempt()
            except TransientError as error:
                pause_s = failures.pause_s(error)
            self.sleep_blocking(pause_s)


@dataclass(slots=True)
class _Failures:
    """What has happened so far to one operation."""

    uri: str
    retry: Retry
    started: float = field(init=False)
    reasons: Counter[str] = field(default_factory=Counter)
    is_told: bool = False

    def __post_init__(self) -> None:
        self.started = self.retry.clock()

    def pause_s(self, error: TransientError) -> float:
        """Counts a failure; the seconds to wait before the next attempt, or UnavailableError."""
        self.reasons[error.reason] += 1
        count, elapsed_s = self.reasons.total(), self.retry.clock() - self.started
        ceiling_s = min(self.retry.longest_s, self.retry.first_s * 2 ** (count - 1))
        pause_s = max(self.retry.uniform(0, ceiling_s), min(error.retry_after_s, self.retry.longest_s))
        if count >= self.retry.attempts or elapsed_s + pause_s > self.retry.total_s:
            raise UnavailableError(self.uri, f"{self._summary()} in {elapsed_s:.1f} s") from error
        log.debug("%s: %s; attempt %d in %.2f s", self.uri, error.reason, count + 1, pause_s)
        if elapsed_s > NOTICE_S and not self.is_told:
            self.is_told = True
            log.warning("%s: %s; trying for up to %d s", self.uri, error.reason, self.retry.total_s)
        return pause_s

    def _summary(self) -> str:
        count = self.reasons.total()
        reasons = ", ".join(f"{reason} ({times} times)" for reason, times in self.reasons.most_common())
        return f"gave up after {count} attempt{'s' if count > 1 else ''}: {reasons}"
