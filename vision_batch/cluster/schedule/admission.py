"""Times that have come become runs; and what people may ask of a schedule, with or without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from vision_batch.cluster.schedule.policy import ON_TIME, arrival, outdone_by, replaced
from vision_batch.cluster.schedule.run import ScheduledRun
from vision_batch.cluster.schedule.schedule import Schedule
from vision_batch.cluster.schedule.store import Store
from vision_batch.cluster.schedule.times import times
from vision_batch.errors import Problem, SpecError


def admit(store: Store, schedule: Schedule, now: datetime) -> list[ScheduledRun]:
    """Adds a run for each of the schedule's times that has come since it was last considered; returns those.

    Inside a transaction. Where the clock was ahead and has gone back, times that were passed over are still to come.
    """
    if not schedule.present:
        return []
    if schedule.considered - now > ON_TIME:
        store.take_back(schedule.name, now)
        schedule = replace(schedule, considered=now)
    its = times(schedule.settings.cron, schedule.settings.timezone)
    moments = list(its.between(schedule.considered, now))
    if not moments:
        return []
    store.considered(schedule.name, moments[-1])
    following = [*moments[1:], its.after(moments[-1])]
    runs = [_admit(store, schedule, *pair, now) for pair in zip(moments, following, strict=True)]
    return [run for run in runs if run is not None]


def _admit(
    store: Store, schedule: Schedule, moment: datetime, next_time: datetime, now: datetime
) -> ScheduledRun | None:
    in_work = store.runs_in_work(schedule.name)
    run = arrival(schedule, moment, now, next_time=next_time, in_work=in_work)
    if not store.add_run(run):
        return None
    if not run.is_over:
        for other in outdone_by(run, in_work, schedule.settings):
            store.update_run(replaced(other, run, now))
    return run


def run_now(store: Store, name: str, now: datetime) -> ScheduledRun:
    """Adds a run at `now`, or a second later where there is one already, that waits for those in work."""
    with store.transaction():
        schedule = _known(store, name)
        if not schedule.present:
            raise SpecError(Problem(name, "a schedule whose spec is no longer there", "one that has its spec"))
        moment = now
        while True:
            # not at a full minute: that may be one of the schedule's own times
            moment += timedelta(seconds=1) if moment.second == 0 else timedelta(0)
            run = ScheduledRun(
                schedule=name, scheduled_time=moment, kind="manual", state="due", created=now, not_before=now
            )
            if store.add_run(run):
                return run
            moment += timedelta(seconds=1)


def pause(store: Store, name: str, now: datetime) -> Schedule:
    """From now on the schedule's times are skipped, and nothing of it begins but what `run_now` asks for."""
    return _set_paused(store, name, now, paused=True)


def resume(store: Store, name: str, now: datetime) -> Schedule:
    """Ends the pause; what it had the schedule skip is not caught up."""
    return _set_paused(store, name, now, paused=False)


def _set_paused(store: Store, name: str, now: datetime, *, paused: bool) -> Schedule:
    with store.transaction():
        schedule = _known(store, name)
        admit(store, schedule, now)
        changed = replace(schedule, paused=paused, considered=until(schedule, now))
        store.put_schedule(changed)
        return changed


def until(schedule: Schedule, now: datetime) -> datetime:
    """Up to when the schedule's times have been considered, once they were admitted at `now`."""
    return now if schedule.considered - now > ON_TIME else max(now, schedule.considered)


def _known(store: Store, name: str) -> Schedule:
    found = store.schedule(name)
    if found is None:
        names = ", ".join(schedule.name for schedule in store.schedules()) or "none: no server has read a spec yet"
        raise SpecError(Problem("the schedule", repr(name), f"one of those in {store.path}: {names}"))
    return found
