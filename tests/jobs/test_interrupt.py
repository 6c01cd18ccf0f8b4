"""A signal ends a pass when what is whole is committed; SIGINT after it ends it at once, SIGTERM does not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator

import pytest

from vision_batch.jobs.interrupt import ending_in_order

SETTLE_S = 0.3


def interrupted(
    writing: Callable[[], Collection[str]] = frozenset,
    *,
    signals: dict[float, int],
    lasts_s: float = 10,
    longest_s: float = 5,
) -> tuple[float, list[str]]:
    """Seconds from the first signal to the interrupt of a block that `lasts_s`, and what was told to stop."""
    stopped: list[str] = []
    timers = [threading.Timer(after, os.kill, [os.getpid(), number]) for after, number in signals.items()]
    start = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        ending_in_order(lambda: stopped.append("stop"), writing, settle_s=SETTLE_S, longest_s=longest_s),
    ):
        for timer in timers:
            timer.start()
        time.sleep(lasts_s)
    took_s = time.monotonic() - start - min(signals)
    for timer in timers:
        timer.join()
    return took_s, stopped


@pytest.fixture
def taken_sigterm() -> Iterator[None]:
    """The program has a handler for SIGTERM, as every driver does."""
    previous = signal.signal(signal.SIGTERM, lambda number, frame: pytest.fail("not while the block lasts"))
    yield
    signal.signal(signal.SIGTERM, previous)


def committed_after(seconds: float) -> Callable[[], set[str]]:
    """One cell that is being written until then, and one more that is whole only after the signal has settled."""
    start = time.monotonic()

    def writing() -> set[str]:
        now = time.monotonic() - start
        return {name for name, since, until in (("a", 0, seconds), ("b", 0.7, 99)) if since <= now < until}

    return writing


def test_nothing_to_commit_ends_when_the_last_news_have_settled() -> None:
    took_s, stopped = interrupted(signals={0.1: signal.SIGINT})
    assert SETTLE_S <= took_s < 2
    assert stopped == ["stop"]


def test_sigterm_ends_a_process_in_which_sigint_is_blocked() -> None:
    """So is the driver of a job that Ray has started."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        took_s, _ = interrupted(signals={0.1: signal.SIGTERM})
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGTERM, before)
    assert SETTLE_S <= took_s < 2


def test_what_was_whole_is_waited_for_and_nothing_more() -> None:
    took_s, _ = interrupted(committed_after(1.2), signals={0.1: signal.SIGINT})
    assert 1 <= took_s < 3


def test_a_part_that_does_not_come_is_not_waited_for_for_ever() -> None:
    took_s, _ = interrupted(committed_after(99), signals={0.1: signal.SIGINT}, longest_s=0.8)
    assert 0.8 <= took_s < 3


def test_a_second_signal_ends_it_at_once() -> None:
    took_s, _ = interrupted(committed_after(99), signals={0.1: signal.SIGINT, 0.5: signal.SIGINT})
    assert 0.3 <= took_s < 2


def test_those_who_look_after_the_process_may_ask_twice(taken_sigterm: None) -> None:
    signals: dict[float, int] = {0.1: signal.SIGTERM, 0.3: signal.SIGTERM}
    took_s, stopped = interrupted(committed_after(1.2), signals=signals)
    assert 1 <= took_s < 3
    assert stopped == ["stop"]


def test_a_block_that_ends_by_itself_was_interrupted_all_the_same() -> None:
    took_s, _ = interrupted(committed_after(99), signals={0.05: signal.SIGINT}, lasts_s=0.2)
    assert took_s < 2


def test_a_failure_of_what_is_being_stopped_is_no_news() -> None:
    with pytest.raises(KeyboardInterrupt), ending_in_order(lambda: None, frozenset):
        signal.raise_signal(signal.SIGINT)
        raise OSError("a worker went first")


def test_sigterm_counts_where_the_program_handles_it_and_is_not_heard_again(taken_sigterm: None) -> None:
    took_s, stopped = interrupted(signals={0.1: signal.SIGTERM})
    assert took_s < 2
    assert stopped == ["stop"]
    signal.raise_signal(signal.SIGTERM)  # amid what the caller has to put in order


def test_without_a_signal_nothing_happens() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stopped: list[str] = []
    with ending_in_order(lambda: stopped.append("stop"), frozenset):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != handlers
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert stopped == []


def test_a_job_in_a_thread_is_left_to_the_main_one() -> None:
    handler = signal.getsignal(signal.SIGINT)
    seen = []

    def run() -> None:
        with ending_in_order(lambda: None, frozenset):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [handler]


def test_an_interrupt_that_nobody_could_raise_comes_again() -> None:
    """Python drops what is raised in a finaliser."""

    class Slow:
        def __del__(self) -> None:
            while not lost:
                time.sleep(0.01)
            time.sleep(0.5)

    lost: list[bool] = []
    timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), ending_in_order(lambda: lost.append(True), frozenset, settle_s=0.1):
        timer.start()
        slow = Slow()
        del slow
        time.sleep(10)
    assert time.monotonic() - start < 5
