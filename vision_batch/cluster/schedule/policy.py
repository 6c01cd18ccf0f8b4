"""What a schedule's rules say: pure functions of a run, what is known of its job, and the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from vision_batch.cluster.job import ENDED as JOB_ENDED
from vision_batch.cluster.job import JobInfo, new_job_id
from vision_batch.cluster.schedule.duration import format_duration
from vision_batch.cluster.schedule.run import WITH_A_JOB, RunState, ScheduledRun, to_text
from vision_batch.cluster.schedule.schedule import Schedule
from vision_batch.cluster.schedule.settings import ScheduleSettings

ON_TIME = timedelta(minutes=10)
"""A time that is found no later than this has not been missed: a server may be started anew, or wait for a cluster."""
FINAL_EXIT_CODES = (2, 3)
"""Trying again would end the same: a wrong spec; done, with too many images that cannot be read."""
SUBMIT_FOR = timedelta(hours=1)
"""How long a cluster that answers may refuse a job before the attempt has failed. Silence is waited out."""
STOP_AGAIN = timedelta(minutes=2)
"""A job that was told to stop and goes on is told once more: it should have ended within 20 s."""


def arrival(
    schedule: Schedule, moment: datetime, now: datetime, *, next_time: datetime, in_work: Sequence[ScheduledRun]
) -> ScheduledRun:
    """The run of `moment`, which has come: due, or skipped by what its schedule says of missed times and of overlap.

    `next_time` is the schedule's next one after `moment`; `in_work` are the schedule's runs that have not ended.
    """
    late, outdone = now - moment > ON_TIME, next_time <= now
    missed = late or outdone
    settings = schedule.settings
    run = ScheduledRun(
        schedule=schedule.name,
        scheduled_time=moment,
        kind="caught_up" if missed else "scheduled",
        state="due",
        created=now,
        not_before=now,
    )
    if schedule.paused:
        return end(run, "skipped", "the schedule was paused", now)
    if missed and settings.catch_up == "none":
        return end(run, "skipped", "missed: no server was there (catch_up: none)", now)
    if outdone and settings.catch_up == "latest":
        return end(run, "skipped", "missed: no server was there, and a later time takes its place", now)
    if settings.overlap == "skip" and in_work and not _queues(run, settings):
        return end(run, "skipped", f"the run of {to_text(in_work[0].scheduled_time)} was still going", now)
    return run


def outdone_by(run: ScheduledRun, in_work: Sequence[ScheduledRun], settings: ScheduleSettings) -> list[ScheduledRun]:
    """Those of `in_work` in whose place `run` comes: all with `overlap: replace`, but for what is caught up."""
    return list(in_work) if settings.overlap == "replace" and not _queues(run, settings) else []


def replaced(run: ScheduledRun, by: ScheduledRun, now: datetime) -> ScheduledRun:
    """`run` after another took its place: ended, or to be stopped when it has a job."""
    if run.state in WITH_A_JOB:
        return replace(run, ending=run.ending or "replaced")
    return end(run, "replaced", f"the run of {to_text(by.scheduled_time)} took its place", now)


def startable(schedule: Schedule, in_work: Sequence[ScheduledRun], now: datetime) -> ScheduledRun | None:
    """The run to start now, of the schedule's `in_work`, the earliest first: one at a time goes, the others wait.

    One that waits for its next attempt comes before those that have not begun. A pause lets only manual ones begin.
    """
    if any(run.state in WITH_A_JOB for run in in_work):
        return None
    allowed = [run for run in in_work if run.kind == "manual" or not schedule.paused]
    head = next(iter([run for run in allowed if run.attempt] or allowed), None)
    if head is None:
        return None
    wait = head.not_before - now
    clock_went_back = wait > schedule.settings.retries.longest_wait
    return head if wait <= timedelta(0) or clock_went_back else None


def with_next_attempt(run: ScheduledRun, now: datetime) -> ScheduledRun:
    """`run` as it is before its next job is submitted, which has an id that follows from schedule, time and attempt."""
    attempt = run.attempt + 1
    job_id = new_job_id(run.schedule, run.scheduled_time) + (f"-{attempt}" if attempt > 1 else "")
    started = run.started or now
    begun = replace(run, state="submitted", attempt=attempt, job_id=job_id, started=started, not_before=now)
    return replace(begun, exit_code=None, message="")


def refused(run: ScheduledRun, reason: str, schedule: Schedule, now: datetime) -> ScheduledRun:
    """`run` after the cluster has not taken its job: to be submitted again, or an attempt that failed."""
    if now - run.not_before < SUBMIT_FOR:
        return replace(run, message=f"not submitted yet: {reason}")
    return failed(run, f"not submitted within {format_duration(SUBMIT_FOR)}: {reason}", schedule, now)


def overdue(run: ScheduledRun, settings: ScheduleSettings, now: datetime) -> bool:
    """Whether the run has taken longer than its deadline allows."""
    return settings.longest is not None and run.started is not None and now - run.started >= settings.longest


def judged(run: ScheduledRun, job: JobInfo | None, schedule: Schedule, now: datetime) -> ScheduledRun:
    """`run`, which has a job, after a look at the cluster: `job` is None when that does not know it."""
    if run.ending is None and overdue(run, schedule.settings, now):
        run = replace(run, ending="deadline")
    if job is None:
        lost = "the cluster does not know its job any more"
        return _ended_as_asked(run, schedule.settings, now) if run.ending else failed(run, lost, schedule, now)
    if job.state in JOB_ENDED:
        return _ended(replace(run, exit_code=job.exit_code), job, schedule, now)
    return replace(run, state="running", message=job.message)


def failed(run: ScheduledRun, reason: str, schedule: Schedule, now: datetime) -> ScheduledRun:
    """`run` after an attempt that failed and may be resumed: due again, or failed for good."""
    retries = schedule.settings.retries
    if not schedule.present:
        return end(run, "failed", f"{reason}; its spec is no longer there", now)
    if run.attempt > retries.limit:
        return end(run, "failed", f"{reason}; attempt {run.attempt} of {retries.limit + 1}", now)
    wait = retries.wait(run.attempt)
    message = f"{reason}; attempt {run.attempt} of {retries.limit + 1}, the next one {format_duration(wait)} later"
    return replace(run, state="due", not_before=now + wait, message=message)


def waited_too_long(run: ScheduledRun, schedule: Schedule, now: datetime) -> ScheduledRun:
    """`run`, which has no job now, ended if it may not begin (again): past its deadline, or without a spec."""
    if overdue(run, schedule.settings, now):
        return end(run, "failed", f"{_deadline(schedule.settings)}; {run.message}", now)
    if not schedule.present:
        return end(run, "failed" if run.attempt else "skipped", "its spec is no longer there", now)
    return run


def stop_is_due(run: ScheduledRun, now: datetime) -> bool:
    """Whether the run's job is to be told (again) to stop."""
    return (
        run.state == "running"
        and run.ending is not None
        and (run.stop_sent is None or now - run.stop_sent >= STOP_AGAIN)
    )


def end(run: ScheduledRun, state: RunState, message: str, now: datetime) -> ScheduledRun:
    """`run` at its end; a failure is to be told."""
    return replace(run, state=state, message=message, ended=now, notice="owed" if state == "failed" else "none")


def _queues(run: ScheduledRun, settings: ScheduleSettings) -> bool:
    return run.kind == "caught_up" and settings.catch_up == "all"


def _ended(run: ScheduledRun, job: JobInfo, schedule: Schedule, now: datetime) -> ScheduledRun:
    if job.state == "done":
        return end(run, "done", job.message, now)
    if run.ending:
        return _ended_as_asked(run, schedule.settings, now)
    if job.state == "stopped":
        return end(run, "stopped", job.message, now)
    if job.exit_code in FINAL_EXIT_CODES:
        return end(run, "failed", job.message, now)
    return failed(run, job.message or "the job failed", schedule, now)


def _ended_as_asked(run: ScheduledRun, settings: ScheduleSettings, now: datetime) -> ScheduledRun:
    if run.ending == "deadline":
        return end(run, "failed", _deadline(settings), now)
    return end(run, "replaced", "a later run took its place", now)


def _deadline(settings: ScheduleSettings) -> str:
    return f"not done within its deadline of {settings.deadline}"
