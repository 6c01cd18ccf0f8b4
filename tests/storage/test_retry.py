from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from vision_batch.errors import NotFoundError, UnavailableError
from vision_batch.storage.retry import Retry, TransientError


@dataclass
class Time:
    """A clock that moves only when somebody sleeps."""

    now: float = 0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def retry(self, **options: float) -> Retry:
        return Retry(
            clock=lambda: self.now,
            sleep=self.sleep_async,
            sleep_blocking=self.sleep,
            uniform=lambda _, high: high,
            **options,  # type: ignore[arg-type]
        )


@dataclass
class Flaky:
    """Fails with `reasons` in turn, then answers."""

    reasons: list[str]
    retry_after_s: float = 0

    def __call__(self) -> str:
        if self.reasons:
            raise TransientError(self.reasons.pop(0), retry_after_s=self.retry_after_s)
        return "answer"

    async def asynchronous(self) -> str:
        return self()


def test_it_waits_twice_as_long_each_time_up_to_a_limit() -> None:
    time = Time()
    retry = time.retry(attempts=9, first_s=0.5, longest_s=3)
    assert retry.run_blocking("uri", Flaky(["reset"] * 5)) == "answer"
    assert time.pauses == [0.5, 1, 2, 3, 3]


def test_the_wait_is_a_random_part_of_the_limit() -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.0

    retry = Retry(uniform=uniform, first_s=0.1)
    assert retry.run_blocking("uri", Flaky(["reset"] * 3)) == "answer"
    assert asked == [(0, 0.1), (0, 0.2), (0, 0.4)]


def test_the_last_error_names_what_happened_how_often() -> None:
    retry = Time().retry(attempts=4, first_s=1)
    with pytest.raises(
        UnavailableError, match=r"uri: gave up after 4 attempts: reset \(3 times\), cut \(1 times\) in 7"
    ):
        retry.run_blocking("uri", Flaky(["reset", "cut", "reset", "reset", "never"]))


def test_total_time_bounds_it_too() -> None:
    time = Time()
    retry = time.retry(attempts=1000, first_s=1, longest_s=10, total_s=30)
    with pytest.raises(UnavailableError):
        retry.run_blocking("uri", Flaky(["503 SlowDown"] * 1000))
    assert time.now <= 30


def test_who_waits_long_is_told_once_for_what(caplog: pytest.LogCaptureFixture) -> None:
    retry = Time().retry(first_s=1, longest_s=4, total_s=60)
    retry.run_blocking("quick", Flaky(["reset"] * 3))
    retry.run_blocking("slow", Flaky(["reset"] * 9))
    assert caplog.messages == ["slow: reset; trying for up to 60 s"]


def test_a_server_that_says_when_is_believed() -> None:
    time = Time()
    assert time.retry(first_s=0.1).run_blocking("uri", Flaky(["503"], retry_after_s=7)) == "answer"
    assert time.pauses == [7]


def test_other_errors_pass_at_once() -> None:
    time = Time()

    def attempt() -> str:
        raise NotFoundError("uri", "404")

    with pytest.raises(NotFoundError):
        time.retry().run_blocking("uri", attempt)
    assert time.pauses == []


def test_the_event_loop_has_the_same_rules() -> None:
    time = Time()
    retry = time.retry(attempts=3, first_s=1)
    assert asyncio.run(retry.run("uri", Flaky(["reset"] * 2).asynchronous)) == "answer"
    assert time.pauses == [1, 2]
    with pytest.raises(UnavailableError, match="3 attempts"):
        asyncio.run(retry.run("uri", Flaky(["reset"] * 3).asynchronous))
