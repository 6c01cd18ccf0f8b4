"""The service that runs jobs at their times: one server acts, any number stand by.

A tick reads the specs, looks at the jobs, adds the runs whose time has come, and starts and stops jobs. What it is
about to do is in the store before it is done, jobs have ids that follow from schedule, time and attempt, and to submit
one twice is to submit it once. So a server may be killed between any two steps: the next tick, of whichever server,
goes on from the store.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from vision_batch.cluster.job import ENDED as JOB_ENDED
from vision_batch.cluster.job import JobInfo, JobService
from vision_batch.cluster.schedule.admission import admit
from vision_batch.cluster.schedule.adoption import adopt
from vision_batch.cluster.schedule.folder import SpecFolder
from vision_batch.cluster.schedule.leader import Leadership
from vision_batch.cluster.schedule.policy import (
    end,
    judged,
    overdue,
    refused,
    startable,
    stop_is_due,
    waited_too_long,
    with_next_attempt,
)
from vision_batch.cluster.schedule.run import WITH_A_JOB, Notice, ScheduledRun, to_text
from vision_batch.cluster.schedule.schedule import Schedule
from vision_batch.cluster.schedule.store import NotLeadingError, Store
from vision_batch.errors import ClusterError, ScheduleError, SpecError

TICK_S = 2.0
STANDBY_S = 1.0
KEPT_JOBS = 100
"""So many ended jobs of a schedule stay at the cluster, with their logs; the history knows of all."""
PATIENCE_S = 10.0
"""A refusal that takes longer is a cluster that does not answer."""
ERROR = "error: "
"""How the lines begin in which a command says why it failed."""
REASON_CHARACTERS = 500

Notify = Callable[[ScheduledRun], Notice]
"""Tells somebody of a run that failed; `owed` means: ask again at the next tick. It raises nothing."""

_log = logging.getLogger(__name__)


class Clock(Protocol):
    """The time of day, which tests may run faster."""

    def now(self) -> datetime:
        """With a time zone."""

    def sleep(self, seconds: float) -> None:
        """Returns after `seconds`, or sooner."""


class Server:
    """Serves the specs of `folder` on the cluster of `service`, with the state in `store`."""

    def __init__(
        self,
        *,
        store: Store,
        leadership: Leadership,
        folder: SpecFolder,
        service: JobService,
        clock: Clock,
        notify: Notify = lambda run: "none",
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._folder = folder
        self._service = service
        self._clock = clock
        self._notify = notify
        self._acts: bool | None = None
        self._answers = True

    def serve(self, stopping: Callable[[], bool]) -> None:
        """Ticks until `stopping()`. Trouble with the store is said, once, and waited out."""
        trouble = ""
        while not stopping():
            try:
                acts = self.tick()
                trouble = ""
            except ScheduleError as error:
                if str(error) != trouble:
                    _log.error("%s", error)
                acts, trouble = False, str(error)
            self._clock.sleep(TICK_S if acts else STANDBY_S)
        with suppress(NotLeadingError, ScheduleError):
            self._leadership.release()

    def tick(self) -> bool:
        """Does what is to be done now, if this server acts; whether it does. Raises ScheduleError."""
        acts = self._leadership.acquire()
        if acts != self._acts:
            _log.info("%s acts%s", self._store.leader().holder, "" if acts else "; this one stands by")
            self._acts = acts
        if not acts:
            return False
        try:
            with self._leadership.kept():
                self._act(self._clock.now().astimezone(UTC).replace(microsecond=0))
        except NotLeadingError:
            return False  # the next tick says so
        return True

    def _act(self, now: datetime) -> None:
        self._answers = True
        self._read_specs(now)
        self._look_at_jobs(now)
        for schedule in self._store.schedules():
            self._admit(schedule, now)
            self._begin(schedule, now)
        self._stop_jobs(now)
        for run in self._store.notices_owed():
            self._tell(run)

    def _read_specs(self, now: datetime) -> None:
        reading = self._folder.look(now)
        if reading is None:
            return
        with self._store.transaction(self._leadership.token):
            said = adopt(self._store, str(self._folder.path), reading, now)
        for line in said:
            _log.info("%s", line)

    def _look_at_jobs(self, now: datetime) -> None:
        """Records what became of the jobs, and submits those that a server may have died before it submitted."""
        runs = [(run, self._schedule(run)) for run in self._store.runs_in_work() if run.state in WITH_A_JOB]
        unsure = [(run, schedule) for run, schedule in runs if _may_not_be_there(run, schedule, now)]
        looked_at = [pair for pair in runs if pair not in unsure]
        try:
            jobs = {job.job_id: job for job in self._service.list()} if runs else {}
        except ClusterError as error:
            self._answers = False
            for run, _ in looked_at:
                self._save(run, replace(run, message=f"the cluster does not answer: {error}"))
            return
        for run, schedule in looked_at:
            job = jobs.get(run.job_id or "")
            job = self._with_reason(job) if job is not None and job.state == "failed" else job
            self._save(run, judged(run, job, schedule, now))
        self._forget_oldest(jobs.values())
        # those that have failed before come last, in any order: none stands in the way of the others for ever
        for run, schedule in sorted(unsure, key=lambda pair: (bool(pair[0].message), random.random())):
            self._submit(schedule, run, now)

    def _forget_oldest(self, jobs: Iterable[JobInfo]) -> None:
        """Removes one of the jobs that are too many, if there is any: the oldest of a schedule's ended runs."""
        ended: dict[str, list[str]] = {}
        for job in jobs:
            if job.state in JOB_ENDED and self._store.has_ended(job.job_id):
                ended.setdefault(job.name, []).append(job.job_id)
        oldest = next((ids[0] for ids in ended.values() if len(ids) > KEPT_JOBS), None)
        if oldest is not None:
            with suppress(ClusterError):  # it is found again
                self._service.forget(oldest)

    def _with_reason(self, job: JobInfo) -> JobInfo:
        """The job, whose message says the last error of its log too, where that can be had."""
        errors: deque[str] = deque(maxlen=1)
        with suppress(ClusterError):
            lines = self._service.logs(job.job_id, follow=False)
            errors.extend(line.removeprefix(ERROR)[:REASON_CHARACTERS] for line in lines if line.startswith(ERROR))
        return replace(job, message=f"{job.message}: {errors[0]}") if errors and errors[0] not in job.message else job

    def _admit(self, schedule: Schedule, now: datetime) -> None:
        with self._store.transaction(self._leadership.token):
            current = self._store.schedule(schedule.name) or schedule  # it may have been paused or resumed meanwhile
            added = admit(self._store, current, now)
        for run in added:
            _log.info("%s", _story(run))

    def _begin(self, schedule: Schedule, now: datetime) -> None:
        for run in self._store.runs_in_work(schedule.name):
            if run.state == "due":
                self._save(run, waited_too_long(run, schedule, now))
        head = startable(schedule, self._store.runs_in_work(schedule.name), now)
        if head is not None:
            begun = with_next_attempt(head, now)
            self._save(head, begun)
            self._submit(schedule, begun, now)

    def _submit(self, schedule: Schedule, run: ScheduledRun, now: datetime) -> None:
        """Has the run's job begun; what the cluster does not take is submitted again at the next tick.

        A cluster that kept us waiting for nothing is asked for no more in this one: the other schedules' times go on.
        """
        assert run.job_id is not None
        if not self._answers:
            return
        self._leadership.confirm()
        package, asked = schedule.package_at(run.scheduled_time), time.monotonic()
        try:
            self._service.submit(package, run.job_id)
            output = self._service.info(run.job_id).output
        except ClusterError as error:
            self._answers = time.monotonic() - asked < PATIENCE_S
            self._save(run, refused(run, str(error), schedule, now))
        except SpecError as error:
            self._save(run, end(run, "failed", f"not submitted: {error}", now))
        else:
            if output in (None, package.output):
                self._save(run, replace(run, state="running", message=""))
            else:
                self._save(run, end(run, "failed", _taken(run, output), now))

    def _stop_jobs(self, now: datetime) -> None:
        for run in self._store.runs_in_work():
            if not stop_is_due(run, now):
                continue
            assert run.job_id is not None
            self._leadership.confirm()
            try:
                self._service.stop(run.job_id)
            except ClusterError as error:
                self._save(run, replace(run, message=f"cannot be stopped: {error}"))
            else:
                self._save(run, replace(run, stop_sent=now))

    def _tell(self, run: ScheduledRun) -> None:
        self._leadership.confirm()
        notice = self._notify(run)
        if notice != "owed":
            with self._store.transaction(self._leadership.token):
                self._store.put_notice(run, notice)

    def _save(self, before: ScheduledRun, after: ScheduledRun) -> None:
        if after == before:
            return
        with self._store.transaction(self._leadership.token):
            self._store.update_run(after)
        if (after.state, after.ending) != (before.state, before.ending):
            _log.info("%s", _story(after))

    def _schedule(self, run: ScheduledRun) -> Schedule:
        found = self._store.schedule(run.schedule)
        if found is None:
            raise ScheduleError(f"{self._store.path}: there are runs of {run.schedule!r}, but no such schedule")
        return found


def _may_not_be_there(run: ScheduledRun, schedule: Schedule, now: datetime) -> bool:
    """Whether a server may have died before it submitted the run's job, which is still wanted."""
    return run.state == "submitted" and run.ending is None and not overdue(run, schedule.settings, now)


def _taken(run: ScheduledRun, output: str | None) -> str:
    """Another server uses the cluster too: what it runs is not to be taken for ours, and not to be stopped."""
    return (
        f"not submitted: the cluster has a job {run.job_id} already, whose rows go to {output}; "
        f"give one of the schedules that are called {run.schedule} there another name"
    )


def _story(run: ScheduledRun) -> str:
    """A line of the log."""
    state = f"to be stopped: {run.ending}" if run.ending and not run.is_over else run.state
    job = f", job {run.job_id}" if run.job_id else ""
    return f"{run.schedule} at {to_text(run.scheduled_time)}: {state}{job}{f': {run.message}' if run.message else ''}"
