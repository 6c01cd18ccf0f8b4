"""What the server does of an evening: runs at their times, and what happens when that does not go to plan."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from tests.cluster.schedule.world import BEGIN, World
from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.schedule.admission import pause, resume, run_now
from vision_batch.cluster.schedule.run import Notice, ScheduledRun
from vision_batch.errors import ClusterError, ScheduleError, SpecError


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_job_runs_at_its_times_and_not_at_those_before_it_was_known(world: World) -> None:
    world.spec("0 * * * *")
    world.run_for(3.5)
    assert world.story() == ["13:00 done", "14:00 done", "15:00 done"]
    assert list(world.jobs.jobs) == [f"nightly-20261121T{hour}0000Z" for hour in (13, 14, 15)]
    run = world.runs()[0]
    assert (run.kind, run.attempt, run.exit_code) == ("scheduled", 1, 0)
    assert (run.started, run.ended) == (BEGIN + timedelta(hours=1), BEGIN + timedelta(hours=1, minutes=5))


def test_a_job_is_told_its_time(world: World) -> None:
    world.spec("0 * * * *")
    world.run_for(1.5)
    package = world.jobs.packages["nightly-20261121T130000Z"]
    assert package.arguments == ("run", "spec.yaml", "--scheduled-time", "2026-11-21T13:00:00Z")
    assert package.scheduled_time == BEGIN + timedelta(hours=1)


def test_a_spec_without_a_schedule_is_none_of_the_servers_business(world: World) -> None:
    (world.specs / "by-hand.yaml").write_text("name: by-hand")
    (world.specs / "notes.txt").write_text("name: [")
    world.tick()
    assert world.store.schedules() == []
    assert world.store.refusals() == []


# overlap


def test_overlap_skip_leaves_out_what_comes_while_a_run_is_going(world: World) -> None:
    world.spec("0 * * * *", overlap="skip")
    world.jobs.course = lambda job_id: (timedelta(minutes=90), 0)
    world.run_for(4)
    assert world.story() == ["13:00 done", "14:00 skipped", "15:00 running", "16:00 skipped"]
    assert world.runs()[1].message == "the run of 2026-11-21T13:00:00Z was still going"


def test_overlap_queue_lets_it_wait(world: World) -> None:
    world.spec("0 * * * *", overlap="queue")
    world.jobs.course = lambda job_id: (timedelta(minutes=90), 0)
    world.run_for(4.4)
    assert world.story() == ["13:00 done", "14:00 done", "15:00 running", "16:00 due"]


def test_overlap_replace_ends_the_run_before_in_order_first(world: World) -> None:
    world.spec("0 * * * *", overlap="replace")
    world.jobs.course = lambda job_id: (timedelta(minutes=90), 0)
    world.run_for(1.9)
    world.run_for(0.1, every_minutes=0.1)  # until 14:00:00
    assert world.story() == ["13:00 running", "14:00 due"]
    assert world.jobs.stops == ["nightly-20261121T130000Z"]
    world.run_for(0.1, every_minutes=0.1)
    assert world.story() == ["13:00 replaced", "14:00 running"]
    assert world.jobs.jobs["nightly-20261121T140000Z"].begun >= world.jobs.jobs["nightly-20261121T130000Z"].ends


def test_what_ends_well_before_it_can_be_replaced_is_done(world: World) -> None:
    world.spec("0 * * * *", overlap="replace")
    world.jobs.course = lambda job_id: (timedelta(minutes=60, seconds=10), 0)
    world.run_for(2.5, every_minutes=0.5)
    assert world.story()[0] == "13:00 done"


# an absent server


@pytest.mark.parametrize(
    ("catch_up", "story"),
    [
        ("latest", ["13:00 done", "14:00 skipped", "15:00 skipped", "16:00 done"]),
        ("all", ["13:00 done", "14:00 done", "15:00 done", "16:00 done"]),
        ("none", ["13:00 done", "14:00 skipped", "15:00 skipped", "16:00 skipped"]),
    ],
)
def test_after_an_absence(world: World, catch_up: str, story: list[str]) -> None:
    world.spec("0 * * * *", catch_up=catch_up)
    world.run_for(1.5)
    world.time += timedelta(hours=3)
    world.restart()
    world.run_for(0.4)
    assert world.story() == story
    assert [run.kind for run in world.runs()[1:]] == ["caught_up"] * 3


@pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
def test_a_server_that_is_started_anew_within_minutes_has_missed_nothing(world: World, catch_up: str) -> None:
    world.spec("0 * * * *", catch_up=catch_up)
    world.run_for(0.95)
    world.time += timedelta(minutes=8)
    world.restart()
    world.run_for(0.2)
    assert [(run.kind, run.state) for run in world.runs()] == [("scheduled", "done")]


def test_a_job_that_ended_while_no_server_was_there_is_found(world: World) -> None:
    world.spec("0 13 * * *")
    world.run_for(1.01)
    world.time += timedelta(hours=3)
    world.restart()
    world.tick()
    assert world.story() == ["13:00 done"]


def test_a_spec_that_comes_while_no_server_is_there_has_missed_nothing(world: World) -> None:
    world.spec("0 * * * *", catch_up="all")
    world.tick()
    assert world.story() == []


def test_a_clock_that_goes_back_runs_nothing_twice(world: World) -> None:
    world.spec("0 * * * *", catch_up="all")
    world.run_for(2.5)
    world.time -= timedelta(hours=2)
    world.run_for(3)
    assert world.story() == ["13:00 done", "14:00 done", "15:00 done"]


@pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
def test_a_clock_that_was_far_ahead_for_a_while_silences_no_night(world: World, catch_up: str) -> None:
    world.spec("0 13 * * *", catch_up=catch_up)
    world.run_for(1.5)
    world.time += timedelta(days=60)
    world.tick()
    world.time -= timedelta(days=60)
    for job in world.jobs.jobs.values():  # how long a job takes is no matter of the clock
        job.ends = min(job.ends, world.time + timedelta(minutes=5))
    world.run_for(48, every_minutes=15)
    nights = [run for run in world.runs() if run.scheduled_time < BEGIN + timedelta(days=3)]
    assert [(f"{run.scheduled_time:%d}", run.state) for run in nights] == [(day, "done") for day in ("21", "22", "23")]


def test_a_next_attempt_is_not_waited_for_longer_than_any_backoff_when_the_clock_goes_back(world: World) -> None:
    world.spec("0 13 * * *")
    world.jobs.course = lambda job_id: (timedelta(minutes=5), 0 if job_id.endswith("-2") else 1)
    world.run_for(1.05)
    world.time += timedelta(days=365)
    world.tick()
    assert world.runs()[0].state == "due"
    world.time -= timedelta(days=365)
    world.jobs.jobs["nightly-20261121T130000Z"].ends = world.time
    world.run_for(0.5)
    assert [(run.state, run.attempt) for run in world.runs()] == [("done", 2)]


# failures


def test_a_run_that_may_be_resumed_is_tried_again_later_and_later(world: World) -> None:
    world.spec("0 13 * * *", retries="{limit: 2, backoff: 10m, max_backoff: 1h}")
    world.jobs.course = lambda job_id: (timedelta(minutes=1), {"-2": 4, "-3": 0}.get(job_id[-2:], 1))
    world.run_for(2.5)
    run = world.runs()[0]
    assert (run.state, run.attempt, run.exit_code) == ("done", 3, 0)
    begun = [job.begun for job in world.jobs.jobs.values()]
    assert list(world.jobs.jobs) == [f"nightly-20261121T130000Z{suffix}" for suffix in ("", "-2", "-3")]
    assert [(later - begun[0]).total_seconds() / 60 for later in begun] == [0, 11, 32]
    assert world.told == []


def test_after_its_last_attempt_it_has_failed_and_that_is_told_once(world: World) -> None:
    world.spec("0 13 * * *", retries="{limit: 1, backoff: 10m}")
    world.jobs.course = lambda job_id: (timedelta(minutes=1), 4)
    world.run_for(2)
    run = world.runs()[0]
    assert (run.state, run.attempt, run.exit_code, run.notice) == ("failed", 2, 4, "given")
    assert run.message.endswith("attempt 2 of 2")
    assert [(told.schedule, told.state) for told in world.told] == [("nightly", "failed")]


def test_a_notice_that_did_not_get_through_is_owed_until_it_does(world: World) -> None:
    answers: list[Notice] = ["owed", "owed", "failed"]
    told: list[ScheduledRun] = []

    def tell(run: ScheduledRun) -> Notice:
        told.append(run)
        return answers.pop(0)

    world.tell = tell  # type: ignore[method-assign]
    world.restart()
    world.spec("0 13 * * *")
    world.jobs.course = lambda job_id: (timedelta(minutes=1), 2)
    world.run_for(2)
    assert len(told) == 3
    assert world.runs()[0].notice == "failed"


@pytest.mark.parametrize("code", [2, 3])
def test_what_would_fail_the_same_is_not_tried_again(world: World, code: int) -> None:
    world.spec("0 13 * * *")
    world.jobs.course = lambda job_id: (timedelta(minutes=1), code)
    world.run_for(2)
    assert [(run.state, run.attempt, run.exit_code) for run in world.runs()] == [("failed", 1, code)]


def test_why_a_job_failed_is_told_with_its_end(world: World) -> None:
    world.spec("0 13 * * *")
    world.jobs.course = lambda job_id: (timedelta(minutes=1), 2)
    world.jobs.log = [
        "error: one",
        "vision-batch-progress {}",
        "error: input.uri: found nothing; expected images",
        "{}",
    ]
    world.run_for(1.1)
    assert world.runs()[0].message.endswith("(exit code 2): input.uri: found nothing; expected images")


def test_a_job_that_somebody_stopped_stays_stopped(world: World) -> None:
    world.spec("0 13 * * *")
    world.run_for(1.03)
    world.jobs.stop("nightly-20261121T130000Z")
    world.run_for(1)
    assert [(run.state, run.attempt) for run in world.runs()] == [("stopped", 1)]
    assert world.told == []


def test_a_job_that_was_interrupted_and_nobody_asked_for_it_is_resumed(world: World) -> None:
    world.spec("0 13 * * *")
    world.jobs.course = lambda job_id: (timedelta(minutes=1), 0 if job_id.endswith("-2") else 130)
    world.run_for(1.5)
    assert [(run.state, run.attempt) for run in world.runs()] == [("done", 2)]


def test_a_job_that_the_cluster_has_lost_is_resumed(world: World) -> None:
    world.spec("0 13 * * *")
    world.run_for(1.03)
    world.jobs.forget("nightly-20261121T130000Z")
    world.run_for(0.5)
    assert [(run.state, run.attempt) for run in world.runs()] == [("done", 2)]


def test_a_job_of_another_server_that_has_our_id_is_not_taken_for_ours(world: World) -> None:
    world.spec("0 13 * * *")
    world.tick(59)
    package = replace(world.store.schedules()[0].package, output="s3://other-team/labels")
    world.jobs.submit(package, "nightly-20261121T130000Z")
    world.run_for(0.5)
    run = world.runs()[0]
    assert (run.state, run.notice) == ("failed", "given")
    assert "rows go to s3://other-team/labels; give one of the schedules" in run.message
    assert world.jobs.stops == []


def test_a_time_that_comes_while_a_run_waits_for_its_next_attempt_overlaps_it(world: World) -> None:
    world.spec("0 * * * *", retries="{backoff: 1h}")
    world.jobs.course = lambda job_id: (timedelta(minutes=1), 1 if job_id.startswith("nightly-20261121T130000Z") else 0)
    world.run_for(1.99)
    assert world.story() == ["13:00 due"]
    world.run_for(0.1)
    assert world.story()[1] == "14:00 skipped"


def test_past_its_deadline_a_run_is_stopped_and_has_failed(world: World) -> None:
    world.spec("0 13 * * *", deadline="30m")
    world.jobs.course = lambda job_id: (timedelta(hours=5), 0)
    world.run_for(2)
    run = world.runs()[0]
    assert (run.state, run.attempt) == ("failed", 1)
    assert run.message == "not done within its deadline of 30m"
    assert world.jobs.stops == ["nightly-20261121T130000Z"]
    assert len(world.told) == 1


def test_a_deadline_holds_for_all_attempts_together(world: World) -> None:
    world.spec("0 13 * * *", deadline="30m", retries="{limit: 100, backoff: 1m, max_backoff: 5m}")
    world.jobs.course = lambda job_id: (timedelta(minutes=1), 1)
    world.run_for(2)
    run = world.runs()[0]
    assert run.state == "failed"
    assert run.message.startswith("not done within its deadline of 30m")
    assert run.ended is not None
    assert run.ended - (BEGIN + timedelta(hours=1)) == timedelta(minutes=30)


def test_a_cluster_that_does_not_answer_is_waited_for(world: World) -> None:
    world.spec("0 13 * * *")
    world.run_for(0.5)
    world.jobs.is_down = True
    world.run_for(1)
    assert world.story() == ["13:00 submitted"]
    assert world.runs()[0].message == "not submitted yet: nothing answers"
    world.jobs.is_down = False
    world.tick()
    world.jobs.is_down = True
    world.run_for(1)
    assert world.story() == ["13:00 running"]
    assert world.runs()[0].message == "the cluster does not answer: nothing answers"
    world.jobs.is_down = False
    world.tick()
    assert [(run.state, run.attempt) for run in world.runs()] == [("done", 1)]


def test_a_cluster_that_refuses_a_job_for_an_hour_costs_the_attempt_and_in_the_end_the_night(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(package: JobPackage, job_id: str) -> None:
        raise ClusterError("HTTP 403: no")

    world.spec("0 13 * * *", retries="{limit: 1, backoff: 1m}")
    with monkeypatch.context() as patch:
        patch.setattr(world.jobs, "submit", submit)
        world.run_for(1.5)
        assert [(run.state, run.attempt, run.message) for run in world.runs()] == [
            ("submitted", 1, "not submitted yet: HTTP 403: no")
        ]
        world.run_for(2)
    (run,) = world.runs()
    assert (run.state, run.message) == ("failed", "not submitted within 1h: HTTP 403: no; attempt 2 of 2")
    assert [told.message for told in world.told] == [run.message]
    world.run_for(24)
    assert world.story()[-1] == "13:00 done"


def test_a_cluster_that_keeps_one_waiting_is_asked_once_a_tick(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.cluster.schedule.server.PATIENCE_S", 0.0)
    for name in "abc":
        world.spec("0 13 * * *", name=name, file=f"{name}.yaml")
    world.tick(59)
    asked: list[str] = []

    def submit(package: JobPackage, job_id: str) -> None:
        asked.append(job_id[0])
        raise ClusterError("nothing answers")

    begin, world.jobs.submit = world.jobs.submit, submit  # type: ignore[method-assign]
    for _ in range(3):
        world.tick(1)
    assert sorted(asked) == ["a", "b", "c"]  # each in a tick of its own
    assert world.story() == ["13:00 submitted"] * 3
    world.jobs.submit = begin  # type: ignore[method-assign]
    world.tick()
    assert world.story() == ["13:00 running"] * 3


def test_a_cluster_that_does_not_list_its_jobs_is_not_asked_to_begin_one(world: World) -> None:
    world.spec("0 13 * * *", name="a", file="a.yaml")
    world.spec("2 13 * * *", name="b", file="b.yaml")
    world.run_for(1.02)
    world.jobs.is_down = True
    world.run_for(0.05)
    assert [(run.state, run.message) for run in world.runs()] == [
        ("running", "the cluster does not answer: nothing answers"),
        ("submitted", ""),
    ]


def test_a_cluster_keeps_only_the_latest_jobs_of_a_schedule(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.cluster.schedule.server.KEPT_JOBS", 2)
    world.spec("0 * * * *")
    world.jobs.course = lambda job_id: (timedelta(minutes=5), 1 if job_id.endswith("T140000Z") else 0)
    world.tick()
    package = replace(world.store.schedules()[0].package, name="by-hand")
    world.jobs.submit(package, "by-hand-20261121T120000Z-1a2b")
    world.run_for(2.5)
    assert list(world.jobs.jobs)[1:] == ["nightly-20261121T140000Z", "nightly-20261121T140000Z-2"]
    world.run_for(3)
    assert world.story() == [f"{hour}:00 done" for hour in (13, 14, 15, 16, 17)]
    assert list(world.jobs.jobs) == [
        "by-hand-20261121T120000Z-1a2b",
        "nightly-20261121T160000Z",
        "nightly-20261121T170000Z",
    ]


def test_a_job_that_does_not_end_when_it_is_told_to_is_told_again(world: World) -> None:
    world.spec("0 13 * * *", deadline="10m")
    world.jobs.course = lambda job_id: (timedelta(hours=5), 0)
    stop = world.jobs.stop
    world.jobs.stop = lambda job_id: world.jobs.stops.append(job_id)  # type: ignore[method-assign]
    world.run_for(1.25)
    assert len(world.jobs.stops) == 3
    world.jobs.stop = stop  # type: ignore[method-assign]
    world.run_for(0.2)
    assert world.story() == ["13:00 failed"]


def test_when_the_disk_is_full_nothing_begins_that_is_not_on_record(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.spec("0 13 * * *")
    world.tick()
    fill_disk(world)
    world.time += timedelta(hours=1)
    world.server.serve(lambda: world.time >= BEGIN + timedelta(hours=1, minutes=1))
    assert world.jobs.jobs == {}
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said == [f"{world.state}: the schedules' state cannot be used: database or disk is full"]
    world.store._rows("PRAGMA max_page_count = 1000000")
    world.tick()
    assert list(world.jobs.jobs) == ["nightly-20261121T130000Z"]


def fill_disk(world: World) -> None:
    """The store may not grow, and other rows take what it has left."""
    (pages,) = world.store._rows("PRAGMA page_count")[0]
    world.store._rows(f"PRAGMA max_page_count = {pages}")
    row = ScheduledRun(
        schedule="x", scheduled_time=BEGIN, kind="manual", state="done", created=BEGIN, not_before=BEGIN, ended=BEGIN
    )
    with pytest.raises(ScheduleError, match="full"):
        for second in count():
            world.store.add_run(replace(row, scheduled_time=BEGIN - timedelta(seconds=second)))


# specs that change


def test_a_changed_spec_holds_from_when_it_is_seen(world: World) -> None:
    world.spec("0 * * * *", catch_up="all")
    world.run_for(1.5)
    world.spec("15 * * * *", catch_up="all")
    world.run_for(2)
    assert world.story() == ["13:00 done", "14:15 done", "15:15 done"]


def test_a_broken_spec_is_refused_and_the_last_good_one_goes_on_also_after_a_restart(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vision_batch")
    world.spec("0 * * * *")
    world.run_for(0.5)
    (world.specs / "nightly.yaml").write_text("name: nightly\nschedule: {cron: '0 25 * * *'}")
    world.run_for(0.1)
    world.restart()
    world.run_for(1)
    assert world.story() == ["13:00 done"]
    refused = [record.getMessage() for record in caplog.records if record.getMessage().startswith("refused:")]
    assert len(refused) == 1
    assert "'25' is no hour" in refused[0]
    assert refused[0].endswith("; nightly goes on as it was")
    assert [refusal.path for refusal in world.store.refusals()] == [str(world.specs / "nightly.yaml")]
    world.spec("0 * * * *")
    world.tick(2)
    assert world.store.refusals() == []


def test_when_a_spec_is_removed_nothing_more_begins_and_its_history_stays(world: World) -> None:
    world.spec("0 * * * *")
    world.run_for(1.02)
    (world.specs / "nightly.yaml").unlink()
    world.run_for(2)
    assert world.story() == ["13:00 done"]
    assert [schedule.present for schedule in world.store.schedules()] == [False]
    world.spec("0 * * * *", catch_up="all")
    world.run_for(1.2)
    assert world.story() == ["13:00 done", "16:00 done"]


def test_of_two_specs_of_one_name_the_one_that_was_there_is_served(world: World) -> None:
    world.spec("0 * * * *", file="b.yaml")
    world.tick()
    world.spec("30 * * * *", file="a.yaml")
    world.run_for(1.2)
    assert world.story() == ["13:00 done"]
    assert world.store.refusals()[0].path == str(world.specs / "a.yaml")


def test_a_folder_that_is_away_for_a_while_changes_nothing(world: World) -> None:
    world.spec("0 * * * *")
    world.run_for(0.5)
    world.specs.rename(world.specs.with_name("away"))
    world.run_for(1)
    world.specs.with_name("away").rename(world.specs)
    world.run_for(1)
    assert world.story() == ["13:00 done", "14:00 done"]


# what people ask for


def test_run_now(world: World) -> None:
    world.spec("0 * * * *")
    world.tick(12.5)
    run = run_now(world.store, "nightly", world.time)
    assert run_now(world.store, "nightly", world.time).scheduled_time == run.scheduled_time + timedelta(seconds=1)
    world.run_for(0.3)
    assert [(run.kind, run.state) for run in world.runs()] == [("manual", "done")] * 2


def test_run_now_does_not_take_the_place_of_a_scheduled_time(world: World) -> None:
    world.spec("0 * * * *", overlap="queue")
    world.run_for(0.99)
    asked = run_now(world.store, "nightly", datetime.fromisoformat("2026-11-21T13:00:00Z"))
    world.run_for(0.5)
    assert [run.kind for run in world.runs()] == ["scheduled", "manual"]
    assert asked.scheduled_time.second == 1


def test_a_paused_schedule_skips_its_times_but_runs_what_is_asked_for(world: World) -> None:
    world.spec("0 * * * *", catch_up="all")
    world.run_for(1.5)
    pause(world.store, "nightly", world.time)
    world.run_for(1)
    run_now(world.store, "nightly", world.time)
    world.run_for(1)
    resume(world.store, "nightly", world.time)
    world.run_for(1)
    assert [f"{run.kind} {run.state}" for run in world.runs()] == [
        "scheduled done",
        "scheduled skipped",
        "manual done",
        "scheduled skipped",
        "scheduled done",
    ]


def test_what_a_pause_holds_back_is_not_in_the_way_of_what_is_asked_for(world: World) -> None:
    world.spec("0 13 * * *", retries="{backoff: 10m}")
    world.jobs.course = lambda job_id: (timedelta(minutes=30), 1 if job_id == "nightly-20261121T130000Z" else 0)
    world.run_for(1.55)
    pause(world.store, "nightly", world.time)
    run_now(world.store, "nightly", world.time)
    world.run_for(0.4)
    assert [f"{run.kind} {run.state}" for run in world.runs()] == ["scheduled due", "manual running"]
    resume(world.store, "nightly", world.time)
    world.run_for(1)
    assert [f"{run.kind} {run.state}" for run in world.runs()] == ["scheduled done", "manual done"]


def test_a_pause_holds_without_a_server_too(world: World) -> None:
    world.spec("0 * * * *", catch_up="all")
    world.run_for(1.5)
    pause(world.store, "nightly", world.time)
    world.time += timedelta(hours=2)
    resume(world.store, "nightly", world.time)
    world.restart()
    world.run_for(1)
    assert world.story() == ["13:00 done", "14:00 skipped", "15:00 skipped", "16:00 done"]


def test_what_is_asked_of_an_unknown_schedule_is_refused(world: World) -> None:
    world.spec()
    world.tick()
    with pytest.raises(SpecError, match=r"'nigthly'.*nightly"):
        run_now(world.store, "nigthly", world.time)
