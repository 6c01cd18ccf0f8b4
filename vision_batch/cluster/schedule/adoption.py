"""What was read in the folder becomes what is served; of a spec that is broken the last good one stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from vision_batch.cluster.schedule.admission import admit, until
from vision_batch.cluster.schedule.folder import Reading, ScheduledSpec
from vision_batch.cluster.schedule.run import to_text
from vision_batch.cluster.schedule.schedule import Refusal, Schedule
from vision_batch.cluster.schedule.store import Store
from vision_batch.cluster.schedule.times import times


def adopt(store: Store, folder: str, reading: Reading, now: datetime) -> list[str]:
    """Brings the store's schedules to what `reading` of `folder` found; says what changed. Inside a transaction.

    Up to `now` the times of a schedule are those of the spec that was served so far.
    """
    known = {schedule.name: schedule for schedule in store.schedules()}
    specs, refusals = _one_a_name(reading, known)
    said = [line for spec in specs for line in _adopt(store, spec, known.get(spec.name), now)]
    refused = {refusal.path for refusal in refusals}
    for name, schedule in known.items():
        is_kept = schedule.path in refused or folder in refused
        if schedule.present and not is_kept and name not in {spec.name for spec in specs}:
            admit(store, schedule, now)
            store.put_schedule(replace(schedule, present=False, considered=until(schedule, now)))
            said.append(
                f"{name}: {schedule.path} has no schedule of that name any more; nothing of it begins from now on"
            )
    return said + list(_refuse(store, refusals, known))


def _one_a_name(reading: Reading, known: dict[str, Schedule]) -> tuple[list[ScheduledSpec], list[Refusal]]:
    """Of several specs of one name the one that is served already, or the first file; the others are refused."""
    taken: dict[str, ScheduledSpec] = {}
    refusals = list(reading.refusals)
    for spec in sorted(reading.specs, key=lambda spec: spec.name not in known or known[spec.name].path != spec.path):
        if spec.name in taken:
            problem = f"name: found {spec.name!r}, which {taken[spec.name].path} has too; expected a name of its own"
            refusals.append(Refusal(path=spec.path, problem=problem))
        else:
            taken[spec.name] = spec
    return list(taken.values()), refusals


def _adopt(store: Store, spec: ScheduledSpec, old: Schedule | None, now: datetime) -> Iterator[str]:
    new = Schedule(name=spec.name, path=spec.path, settings=spec.settings, package=spec.package, considered=now)
    if old is not None:
        same = (old.path, old.settings, old.package.digest) == (new.path, new.settings, new.package.digest)
        if same and old.present:
            return
        admit(store, old, now)
        new = replace(new, paused=old.paused, considered=until(old, now))
    store.put_schedule(new)
    following = times(new.settings.cron, new.settings.timezone).after(now)
    is_new = old is None or not old.present
    yield f"{new.name}: {'served' if is_new else 'changed'}, from {new.path}; next at {to_text(following)}"


def _refuse(store: Store, refusals: list[Refusal], known: dict[str, Schedule]) -> Iterator[str]:
    before = {refusal.path: refusal.problem for refusal in store.refusals()}
    if before == {refusal.path: refusal.problem for refusal in refusals}:
        return
    store.put_refusals(refusals)
    for refusal in refusals:
        if before.get(refusal.path) != refusal.problem:
            names = [name for name, schedule in known.items() if schedule.path == refusal.path and schedule.present]
            kept = f"; {names[0]} goes on as it was" if names else ""
            yield f"{refusal}{kept}"
