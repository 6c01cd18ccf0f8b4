"""A failure is told at least once, whoever is killed in between, and a contact that fails stops nobody."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.schedule import notify
from vision_batch.cluster.schedule.contact import ContactSettings
from vision_batch.cluster.schedule.notify import LONGEST_WAIT, PATIENCE, Notifier
from vision_batch.cluster.schedule.run import Notice, RunState, ScheduledRun
from vision_batch.cluster.schedule.schedule import Schedule
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.cluster.schedule.store import Store

NIGHT = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)


class Clock:
    """The server's, which tests set."""

    def __init__(self) -> None:
        self.time = NIGHT

    def now(self) -> datetime:
        return self.time


class Round:
    """What a server does in every round for the notices that are owed."""

    def __init__(self, store: Store, contacts: dict[str, ContactSettings]) -> None:
        self.clock = Clock()
        self._store = store
        self._notifier = Notifier(store, contacts, self.clock.now)

    def __call__(self) -> None:
        for run in self._store.notices_owed():
            with self._store.transaction():
                self._store.put_notice(run, self._notifier(run))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "schedules.db")
    with store.transaction():
        store.put_schedule(schedule())
    yield store
    store.close()


def schedule(on_failure: str | None = "on-call") -> Schedule:
    package = JobPackage(name="nightly", files={}, arguments=(), output="s3://bucket/{date}")
    settings = ScheduleSettings(cron="30 3 * * *", on_failure=on_failure)
    return Schedule(name="nightly", path="/srv/nightly.yaml", settings=settings, package=package, considered=NIGHT)


def add_run(store: Store, night: int = 0, state: RunState = "failed", notice: Notice = "owed") -> ScheduledRun:
    moment = NIGHT + timedelta(days=night)
    run = ScheduledRun(
        schedule="nightly",
        scheduled_time=moment,
        kind="scheduled",
        state=state,
        message="the spec, an option or the environment is wrong",
        exit_code=2,
        created=moment,
        not_before=moment,
        ended=moment,
        notice=notice,
    )
    with store.transaction():
        store.add_run(run)
    return run


def notices(store: Store) -> list[str]:
    return [run.notice for run in reversed(store.history())]


class Shell:
    """A contact whose command notes the record that it is given, and ends as `code` says."""

    def __init__(self, folder: Path) -> None:
        self.code = folder / "code"
        self.told_in = folder / "told"
        self.code.write_text("0")
        self.told_in.touch()
        program = folder / "tell"
        program.write_text(
            f"#!{sys.executable} -SE\nimport sys\n"
            f"with open({str(self.told_in)!r}, 'a') as told: told.write(sys.stdin.read() + '\\n')\n"
            f"sys.exit(int(open({str(self.code)!r}).read()))\n"
        )
        program.chmod(0o700)
        self.settings = ContactSettings(command=[str(program)])

    @property
    def told(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.told_in.read_text().splitlines()]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def until(condition: Callable[[], bool], work: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        work()
        time.sleep(0.01)


def test_a_contact_is_given_the_run_and_the_row_says_so(store: Store, shell: Shell) -> None:
    add_run(store)
    until(lambda: notices(store) == ["given"], Round(store, {"on-call": shell.settings}))
    (record,) = shell.told
    assert record["event"] == "run_failed"
    assert (record["schedule"], record["scheduled_time"]) == ("nightly", "2026-11-21T03:30:00Z")
    assert (record["state"], record["exit_code"]) == ("failed", 2)
    assert (record["spec"], record["output"]) == ("/srv/nightly.yaml", "s3://bucket/2026-11-21")


def test_each_of_many_runs_is_told(store: Store, shell: Shell) -> None:
    for night in range(5):
        add_run(store, night)
    until(lambda: notices(store) == ["given"] * 5, Round(store, {"on-call": shell.settings}))
    times = sorted(str(record["scheduled_time"]) for record in shell.told)
    assert times == [f"2026-11-{21 + night}T03:30:00Z" for night in range(5)]


def test_what_failed_is_told_again_after_waits_that_grow_and_given_up_after_a_day(
    store: Store, shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    add_run(store)
    shell.code.write_text("7")
    turn, wait, failures = Round(store, {"on-call": shell.settings}), timedelta(seconds=10), 0
    while turn.clock.time < NIGHT + PATIENCE:
        until(lambda: len(caplog.records) > failures, turn)  # noqa: B023 - called at once
        failures += 1
        turn.clock.time += wait - timedelta(seconds=1)
        turn()
        assert len(shell.told) == failures, "too early for the next one"
        turn.clock.time += timedelta(seconds=1)
        wait = min(wait * 2, LONGEST_WAIT)
    assert notices(store) == ["owed"]
    until(lambda: notices(store) == ["failed"], turn)
    assert len(shell.told) == failures + 1
    assert "exit code 7; tried again in 0:00:10" in caplog.messages[0]
    assert caplog.records[-1].levelno == logging.ERROR


def test_a_notice_that_was_taken_and_not_recorded_is_given_again(store: Store, shell: Shell) -> None:
    """As it is when the server is killed at that moment."""
    add_run(store)
    killed = Round(store, {"on-call": shell.settings})
    killed()
    until(lambda: len(shell.told) == 1)
    assert notices(store) == ["owed"]
    until(lambda: notices(store) == ["given"], Round(store, {"on-call": shell.settings}))
    assert len(shell.told) == 2
    assert shell.told[0] == shell.told[1]


def test_a_contact_that_hangs_makes_nobody_wait(store: Store, shell: Shell) -> None:
    hanging = ContactSettings(command=["/bin/sleep", "60"], timeout_s=1)
    add_run(store)
    turn = Round(store, {"on-call": hanging, "mail": shell.settings})
    began = time.monotonic()
    turn()
    assert time.monotonic() - began < 0.5
    with store.transaction():
        store.put_schedule(schedule(on_failure="mail"))
    add_run(store, 1)
    until(lambda: notices(store) == ["owed", "given"], turn)


def test_an_answer_that_comes_too_late_is_none(
    store: Store, shell: Shell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A webhook that answers byte by byte, for ever, never waits for longer than its time limit."""
    answers = Event()
    monkeypatch.setattr(notify, "tell", lambda *_, **__: answers.wait(30) and None)
    monkeypatch.setattr(notify, "HANGS_S", 0.2 - shell.settings.timeout_s)
    add_run(store)
    turn = Round(store, {"on-call": shell.settings})
    until(lambda: "not answered in time" in caplog.text, turn)
    answers.set()
    turn()
    assert notices(store) == ["owed"]
    turn.clock.time += timedelta(seconds=10)
    until(lambda: notices(store) == ["given"], turn)


def test_a_contact_that_the_configuration_lost_is_missed_in_the_log(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    add_run(store)
    until(lambda: "no such contact" in caplog.text, Round(store, {}))
    assert notices(store) == ["owed"], "a server with another configuration may know it"


def test_a_schedule_that_names_nobody_owes_nothing(store: Store) -> None:
    with store.transaction():
        store.put_schedule(schedule(on_failure=None))
    add_run(store)
    Round(store, {})()
    assert notices(store) == ["none"]
