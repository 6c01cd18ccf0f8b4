"""Tells the contact of a schedule that a run of it failed: at least once, and without making the server wait.

That a notice is owed is part of the run's row, written together with its end. Only when the contact has taken it, or a
day has passed, does the row say otherwise: a server that is killed in between, or followed by another, tells it again.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from vision_batch.cluster.job import new_job_id
from vision_batch.cluster.schedule.contact import ContactSettings, tell
from vision_batch.cluster.schedule.run import Notice, ScheduledRun, to_text
from vision_batch.cluster.schedule.store import Store

FIRST_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(hours=1)
"""Between two attempts: it doubles from one to the next."""
PATIENCE = timedelta(days=1)
"""A notice that nobody has taken so long after the run's end is given up."""

HANGS_S = 5.0
"""After its time limit an attempt is left so much longer: a webhook that answers byte by byte never exceeds its own."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Telling:
    """The latest attempt for a run, and the next one's time once it has failed. `answer` is why it did, or None.

    `hangs_at` is of time.monotonic(): no answer is awaited any longer.
    """

    contact: str
    hangs_at: float = math.inf
    answer: Future[str | None] = field(default_factory=Future)
    next_at: datetime | None = None
    wait: timedelta = FIRST_WAIT

    def settle(self, why: str | None) -> None:
        """The first answer counts."""
        with suppress(InvalidStateError):
            self.answer.set_result(why)


class Notifier:
    """Called with a run whose notice is owed, again and again until it says what became of that.

    What has failed is tried again after a wait, which a restart of the server cuts short. `now` is the server's clock.
    """

    def __init__(self, store: Store, contacts: Mapping[str, ContactSettings], now: Callable[[], datetime]) -> None:
        self._store = store
        self._contacts = contacts
        self._now = now
        self._tellings: dict[tuple[str, datetime], _Telling] = {}

    def __call__(self, run: ScheduledRun) -> Notice:
        key = run.schedule, run.scheduled_time
        telling = self._tellings.get(key)
        if telling is None or (telling.next_at is not None and self._now() >= telling.next_at):
            begun = self._begin(run)
            if begun is None:
                return "none"
            if telling is not None:
                begun.wait = min(telling.wait * 2, LONGEST_WAIT)
            self._tellings[key] = begun
            return "owed"
        if time.monotonic() >= telling.hangs_at:
            telling.settle("it has not answered in time")
        if not telling.answer.done() or telling.next_at is not None:
            return "owed"
        notice = self._judge(run, telling)
        if notice != "owed":
            del self._tellings[key]
        return notice

    def _begin(self, run: ScheduledRun) -> _Telling | None:
        """None for a schedule that names nobody, by now."""
        schedule = self._store.schedule(run.schedule)
        if schedule is None or schedule.settings.on_failure is None:
            return None
        telling = _Telling(contact=schedule.settings.on_failure)
        contact = self._contacts.get(telling.contact)
        if contact is None:
            telling.settle("the server's configuration has no such contact")
            return telling
        body = record_of(run, spec=schedule.path, output=schedule.package_at(run.scheduled_time).output)
        notice_id = new_job_id(run.schedule, run.scheduled_time)

        telling.hangs_at = time.monotonic() + contact.timeout_s + HANGS_S

        def work() -> None:
            telling.settle(tell(contact, body, notice_id=notice_id))

        threading.Thread(target=work, name=f"tell {telling.contact}", daemon=True).start()
        return telling

    def _judge(self, run: ScheduledRun, telling: _Telling) -> Notice:
        why, now = telling.answer.result(), self._now()
        if why is None:
            return "given"
        said = f"{telling.contact} was not told of {run.schedule} at {to_text(run.scheduled_time)}: {why}"
        if now - (run.ended or now) >= PATIENCE:
            _log.error("%s; given up", said)
            return "failed"
        _log.warning("%s; tried again in %s", said, telling.wait)
        telling.next_at = now + telling.wait
        return "owed"


def record_of(run: ScheduledRun, *, spec: str, output: str) -> bytes:
    """What a contact is given: the run as `schedule history --json` shows it, its spec and its own output, as JSON."""
    facts: dict[str, Any] = {"event": "run_failed", **run.as_dict(), "spec": spec, "output": output}
    return json.dumps(facts).encode()
