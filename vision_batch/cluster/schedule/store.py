"""The state of the schedules: one SQLite file, on a disk of the machine that serves them.

Every change is a transaction that is on the disk when it returns, so that a server may be killed at any moment. What
only the acting server may do is done in a transaction that demands its fencing token: a server that was suspended and
has been followed can change nothing any more.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from vision_batch.cluster.schedule.run import Notice, RunState, ScheduledRun, from_text, to_text
from vision_batch.cluster.schedule.schedule import Refusal, Schedule, package_from_text, package_to_text
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.errors import Problem, ScheduleError, SpecError
from vision_batch.ledger.holder import Holder

VERSION = 1
WAIT_S = 10
"""For another process's transaction: they take milliseconds."""

_SCHEMA = """
CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    settings TEXT NOT NULL,
    package TEXT NOT NULL,
    considered TEXT NOT NULL,
    paused INTEGER NOT NULL,
    present INTEGER NOT NULL
);
CREATE TABLE refusals (path TEXT PRIMARY KEY, problem TEXT NOT NULL);
CREATE TABLE runs (
    schedule TEXT NOT NULL,
    scheduled_time TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    job_id TEXT UNIQUE,
    exit_code INTEGER,
    created TEXT NOT NULL,
    not_before TEXT NOT NULL,
    started TEXT,
    ended TEXT,
    ending TEXT,
    stop_sent TEXT,
    notice TEXT NOT NULL,
    PRIMARY KEY (schedule, scheduled_time)
);
CREATE INDEX runs_in_work ON runs (schedule, scheduled_time) WHERE ended IS NULL;
CREATE INDEX notices_owed ON runs (schedule, scheduled_time) WHERE notice = 'owed';
CREATE TABLE leader (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    holder TEXT,
    serves TEXT NOT NULL,
    token INTEGER NOT NULL,
    beat INTEGER NOT NULL
);
INSERT INTO leader VALUES (1, NULL, '', 0, 0);
"""
_RUN_COLUMNS = tuple(field.name for field in fields(ScheduledRun))
_TIMES = ("scheduled_time", "created", "not_before", "started", "ended", "stop_sent")
_ATTEMPT = re.compile(r"(?<=Z)-[0-9]+$")
"""What the id of a run's second and later jobs ends with."""
_KEY = "schedule = :schedule AND scheduled_time = :scheduled_time"


class NotLeadingError(Exception):
    """Another server acts now: what was begun has been undone, and nothing more may be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Who acts: nobody, or `holder`, which `serves` a folder on a cluster.

    `token` grows with each change of hands, `beat` with each sign of life.
    """

    holder: Holder | None
    serves: str
    token: int
    beat: int


class Store:
    """The file at `path`, made when there is none. ScheduleError where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._translated():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):  # only a new one is opened: to close a database drops this process's locks
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))  # specs with variables expanded are in it
            self._connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        self._create()

    def close(self) -> None:
        """Ends the connection; a transaction that is open is undone."""
        self._connection.close()

    @contextmanager
    def transaction(self, token: int | None = None) -> Iterator[None]:
        """All or nothing of what is done inside. With `token`, NotLeadingError unless that is the leader's."""
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if token is not None and self.leader().token != token:
                    raise NotLeadingError
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def schedules(self) -> list[Schedule]:
        """All that there ever were, by name."""
        return [_schedule(row) for row in self._rows("SELECT * FROM schedules ORDER BY name")]

    def schedule(self, name: str) -> Schedule | None:
        """The one of that name."""
        return next((_schedule(row) for row in self._rows("SELECT * FROM schedules WHERE name = ?", name)), None)

    def put_schedule(self, schedule: Schedule) -> None:
        """Adds it, or puts it in the place of the one of its name."""
        settings = schedule.settings.model_dump_json(exclude_unset=True)
        self._rows(
            "INSERT OR REPLACE INTO schedules VALUES (?, ?, ?, ?, ?, ?, ?)",
            schedule.name,
            schedule.path,
            settings,
            package_to_text(schedule.package),
            to_text(schedule.considered),
            schedule.paused,
            schedule.present,
        )

    def considered(self, name: str, until: datetime) -> None:
        """Records that every time of the schedule up to `until` has its row."""
        self._rows("UPDATE schedules SET considered = ? WHERE name = ?", to_text(until), name)

    def refusals(self) -> list[Refusal]:
        """The specs that are refused now, by path."""
        return [Refusal(path=row["path"], problem=row["problem"]) for row in self._rows("SELECT * FROM refusals")]

    def put_refusals(self, refusals: Iterable[Refusal]) -> None:
        """These are all."""
        self._rows("DELETE FROM refusals")
        for refusal in refusals:
            self._rows("INSERT INTO refusals VALUES (?, ?)", refusal.path, refusal.problem)

    def add_run(self, run: ScheduledRun) -> bool:
        """Adds a run; False, and nothing, when its schedule has one of that time already."""
        places = ", ".join(f":{name}" for name in _RUN_COLUMNS)
        statement = f"INSERT OR IGNORE INTO runs ({', '.join(_RUN_COLUMNS)}) VALUES ({places})"
        return self._execute(statement, run.as_dict()) == 1

    def take_back(self, name: str, now: datetime) -> None:
        """Removes the runs of the schedule's times after `now`, but for those that have begun; and considers them anew.

        What has begun stays, so that it does not begin twice.
        """
        statement = "DELETE FROM runs WHERE schedule = ? AND scheduled_time > ? AND attempt = 0 AND kind <> 'manual'"
        self._rows(statement, name, to_text(now))
        self.considered(name, now)

    def update_run(self, run: ScheduledRun) -> None:
        """Replaces what is stored of a run that has not ended; ScheduleError for one that has."""
        values = ", ".join(f"{name} = :{name}" for name in _RUN_COLUMNS)
        if self._execute(f"UPDATE runs SET {values} WHERE {_KEY} AND ended IS NULL", run.as_dict()) != 1:
            raise ScheduleError(f"{self.path}: the run of {run.schedule} at {run.scheduled_time} has ended already")

    def run(self, schedule: str, moment: datetime) -> ScheduledRun | None:
        """The schedule's run of that time."""
        found = self._rows("SELECT * FROM runs WHERE schedule = ? AND scheduled_time = ?", schedule, to_text(moment))
        return next(map(_run, found), None)

    def runs_in_work(self, schedule: str | None = None) -> list[ScheduledRun]:
        """Those that have not ended, of one schedule or of all, the earliest first."""
        wanted, values = ("AND schedule = ?", [schedule]) if schedule else ("", [])
        statement = f"SELECT * FROM runs WHERE ended IS NULL {wanted} ORDER BY scheduled_time, schedule"
        return [_run(row) for row in self._rows(statement, *values)]

    def history(self, schedule: str | None = None, *, limit: int | None = None) -> list[ScheduledRun]:
        """The runs of one schedule or of all, the latest `limit` of them, the latest first."""
        wanted, values = ("WHERE schedule = ?", [schedule]) if schedule else ("", [])
        statement = f"SELECT * FROM runs {wanted} ORDER BY scheduled_time DESC, schedule LIMIT ?"
        return [_run(row) for row in self._rows(statement, *values, -1 if limit is None else limit)]

    def last_done(self, schedule: str) -> ScheduledRun | None:
        """The latest of the schedule's runs that is done."""
        statement = "SELECT * FROM runs WHERE schedule = ? AND state = 'done' ORDER BY scheduled_time DESC LIMIT 1"
        return next(map(_run, self._rows(statement, schedule)), None)

    def first_after(self, schedule: str, moment: datetime | None) -> ScheduledRun | None:
        """The earliest of the schedule's runs later than `moment`, or of all."""
        statement = "SELECT * FROM runs WHERE schedule = ? AND scheduled_time > ? ORDER BY scheduled_time LIMIT 1"
        return next(map(_run, self._rows(statement, schedule, "" if moment is None else to_text(moment))), None)

    def has_ended(self, job_id: str) -> bool:
        """Whether that is a job, of any attempt, of a run which has ended."""
        first = _ATTEMPT.sub("", job_id)
        statement = "SELECT 1 FROM runs WHERE ended IS NOT NULL AND (job_id = ? OR job_id > ? AND job_id < ?)"
        return bool(self._rows(statement, first, f"{first}-", f"{first}."))  # a dot comes after the minus

    def counts(self, schedule: str) -> dict[RunState, int]:
        """How many runs of the schedule are in each state that any is in."""
        rows = self._rows("SELECT state, COUNT(*) FROM runs WHERE schedule = ? GROUP BY state", schedule)
        return {row[0]: row[1] for row in rows}

    def notices_owed(self) -> list[ScheduledRun]:
        """The runs whose failure is still to be told, the earliest first."""
        return [_run(row) for row in self._rows("SELECT * FROM runs WHERE notice = 'owed' ORDER BY scheduled_time")]

    def put_notice(self, run: ScheduledRun, notice: Notice) -> None:
        """Records what became of a run's notification."""
        self._execute(f"UPDATE runs SET notice = :notice WHERE {_KEY}", {**run.as_dict(), "notice": notice})

    def leader(self) -> Leader:
        """Who acts."""
        row = self._rows("SELECT * FROM leader")[0]
        holder = None if row["holder"] is None else Holder(**json.loads(row["holder"]))
        return Leader(holder=holder, serves=row["serves"], token=row["token"], beat=row["beat"])

    def put_leader(self, leader: Leader) -> None:
        """Records who acts."""
        holder = None if leader.holder is None else json.dumps(asdict(leader.holder))
        statement = "UPDATE leader SET holder = ?, serves = ?, token = ?, beat = ?"
        self._rows(statement, holder, leader.serves, leader.token, leader.beat)

    def _create(self) -> None:
        with self.transaction():
            version = self._rows("PRAGMA user_version")[0][0]
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self._rows(statement)
                self._rows(f"PRAGMA user_version = {VERSION}")
        if version not in (0, VERSION):
            expected = f"version {VERSION}: a newer vision-batch wrote it; use that one, or another --state"
            raise SpecError(Problem(str(self.path), f"a state of version {version}", expected))

    def _rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with self._translated():
            return self._connection.execute(statement, values).fetchall()

    def _execute(self, statement: str, values: dict[str, Any]) -> int:
        with self._translated():
            return self._connection.execute(statement, values).rowcount

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise ScheduleError(f"{self.path}: the schedules' state cannot be used: {error}") from error


def _schedule(row: sqlite3.Row) -> Schedule:
    return Schedule(
        name=row["name"],
        path=row["path"],
        settings=ScheduleSettings.model_validate_json(row["settings"]),
        package=package_from_text(row["package"]),
        considered=from_text(row["considered"]),
        paused=bool(row["paused"]),
        present=bool(row["present"]),
    )


def _run(row: sqlite3.Row) -> ScheduledRun:
    times = {name: None if row[name] is None else from_text(row[name]) for name in _TIMES}
    return ScheduledRun(**{**dict(row), **times})
