"""The state of the schedules: what it keeps, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.schedule.run import ScheduledRun
from vision_batch.cluster.schedule.schedule import Refusal, Schedule
from vision_batch.cluster.schedule.settings import RetrySettings, ScheduleSettings
from vision_batch.cluster.schedule.store import NotLeadingError, Store
from vision_batch.errors import ScheduleError, SpecError

NIGHT = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
RUN = ScheduledRun(
    schedule="nightly", scheduled_time=NIGHT, kind="scheduled", state="due", created=NIGHT, not_before=NIGHT
)
SCHEDULE = Schedule(
    name="nightly",
    path="/jobs/nightly.yaml",
    settings=ScheduleSettings(cron="30 3 * * *", retries=RetrySettings(limit=1)),
    package=JobPackage(
        name="nightly", files={"spec.yaml": b"\xff\x00"}, arguments=("run", "x"), output="s3://b/{date}"
    ),
    considered=NIGHT,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "state.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def test_what_is_put_is_there_for_the_next_server(store: Store, path: Path) -> None:
    run = replace(RUN, state="running", attempt=2, job_id="j", started=NIGHT, ending="deadline", stop_sent=NIGHT)
    refusal = Refusal(path="/jobs/broken.yaml", problem="it is")
    with store.transaction():
        store.put_schedule(SCHEDULE)
        store.put_refusals([refusal])
        store.add_run(run)
    store.close()
    again = Store(path)
    assert (again.schedules(), again.schedule("nightly"), again.schedule("other")) == ([SCHEDULE], SCHEDULE, None)
    assert again.refusals() == [refusal]
    assert again.runs_in_work() == again.history("nightly") == [run]
    assert again.run("nightly", NIGHT) == run
    again.close()


def test_a_time_has_one_run(store: Store) -> None:
    assert store.add_run(RUN)
    assert not store.add_run(replace(RUN, kind="manual"))
    assert store.add_run(replace(RUN, schedule="other"))
    assert [run.kind for run in store.history()] == ["scheduled", "scheduled"]


def test_a_job_has_one_run(store: Store) -> None:
    later = replace(RUN, scheduled_time=NIGHT + timedelta(days=1))
    store.add_run(RUN)
    store.add_run(later)
    store.update_run(replace(RUN, state="submitted", job_id="j"))
    with pytest.raises(ScheduleError, match="UNIQUE"):
        store.update_run(replace(later, state="submitted", job_id="j"))


def test_what_has_ended_stays_as_it_is_but_for_the_notice(store: Store) -> None:
    ended = replace(RUN, state="failed", ended=NIGHT, notice="owed")
    store.add_run(ended)
    assert store.runs_in_work() == []
    with pytest.raises(ScheduleError, match="has ended already"):
        store.update_run(replace(ended, state="done"))
    assert store.notices_owed() == [ended]
    store.put_notice(ended, "given")
    assert store.notices_owed() == []
    assert store.run("nightly", NIGHT) == replace(ended, notice="given")


def test_history_is_the_latest_first(store: Store) -> None:
    runs = [replace(RUN, scheduled_time=NIGHT + timedelta(days=day)) for day in range(3)]
    for run in runs:
        store.add_run(run)
    store.add_run(replace(RUN, schedule="other"))
    assert store.history("nightly") == runs[::-1]
    assert store.history("nightly", limit=2) == runs[:0:-1]
    assert len(store.history()) == 4


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(KeyError), store.transaction():
        store.add_run(RUN)
        raise KeyError
    assert store.history() == []


def test_only_the_holder_of_the_token_may(store: Store) -> None:
    with store.transaction(store.leader().token):
        store.add_run(RUN)
    with pytest.raises(NotLeadingError), store.transaction(store.leader().token + 1):
        pytest.fail("it may not get here")


def test_a_commit_is_on_the_disk(store: Store) -> None:
    assert store._rows("PRAGMA synchronous")[0][0] == 2  # FULL
    assert store._rows("PRAGMA journal_mode")[0][0] == "wal"


def test_nobody_else_can_read_it(store: Store, path: Path) -> None:
    store.add_run(RUN)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_state_of_a_newer_version_is_refused_and_stays(store: Store, path: Path) -> None:
    with store.transaction():
        store._rows("PRAGMA user_version = 99")
    with pytest.raises(SpecError, match=r"version 99.*a newer vision-batch wrote it"):
        Store(path)
    assert store._rows("PRAGMA user_version")[0][0] == 99


def test_what_is_no_state_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but long enough to be taken for something else than an empty one" * 20)
    with pytest.raises(ScheduleError, match=r"cannot be used: file is not a database"):
        Store(path)


def test_two_connections_make_one_state_at_a_time(path: Path) -> None:
    first, second = Store(path), Store(path)
    second._connection.execute("PRAGMA busy_timeout = 0")
    with first.transaction():
        first.add_run(RUN)
        assert second.history() == []
        with pytest.raises(ScheduleError, match="locked"), second.transaction():
            pytest.fail("it may not get here")
    assert second.history() == [RUN]
    first.close()
    second.close()


def test_times_are_kept_to_the_second() -> None:
    assert RUN.as_dict()["scheduled_time"] == "2026-11-21T03:30:00Z"
