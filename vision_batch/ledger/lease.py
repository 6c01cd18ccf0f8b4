"""The lease: one run at a time works on an output. Safety never depends on it: whatever commits, commits once.

It is taken by creating `_ledger/lease`, renewed every few seconds by writing over what was written last, and given back
by deleting it. Where the storage never overwrites under a condition, a lease is renewed without one, and removed before
it is taken over. A holder on this machine that is dead is followed at once. One that cannot be seen from here is
watched: it is followed when it has not renewed for `patience_s`. Clocks of machines are never compared.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from vision_batch.errors import ChangedError, ExistsError, HeldError, NotFoundError, StorageError
from vision_batch.ledger.holder import Holder, is_alive, this_process
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.table import storage_for

log = logging.getLogger(__name__)

FORMAT = 1
MOST_PID = (1 << 31) - 1
RENEW_S = 5.0
PATIENCE_S = 15.0
"""Three renewals: one that is late or lost costs no lease."""
POLLS = 15
"""How often a lease is looked at while it is watched."""
MOST_REFUSALS = 3
"""So many times in a row the storage refused to write, though nothing had changed: it never will under a condition."""
JOIN_S = 5.0
"""How long the end of a run waits for a renewal that is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """What the lease says. `since` is UTC, ISO 8601, for people only.

    `renewals` makes every renewal another object, also where a version is a digest of the content. `stopping` tells the
    run's actors to begin no more shards.
    """

    run_id: str
    holder: Holder
    since: str
    renewals: int = 0
    stopping: bool = False

    def encode(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> LeaseRecord | None:
        """None for what is no lease of this format."""
        try:
            facts = json.loads(data)
            if facts.pop("format") != FORMAT:
                return None
            holder = Holder(**facts.pop("holder"))
            is_process = type(holder.ticks) is int and type(holder.pid) is int and 0 < holder.pid <= MOST_PID
            return cls(holder=holder, **facts) if is_process else None
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The lease as it was found; `record` is None where it cannot be understood."""

    version: str
    data: bytes
    record: LeaseRecord | None


@contextmanager
def held_lease(
    paths: LedgerPaths,
    run_id: str,
    *,
    note: Callable[[str], None] = log.info,
    renew_s: float = RENEW_S,
    patience_s: float = PATIENCE_S,
) -> Iterator[Lease]:
    """Holds the output's lease during the block; `note` hears why it takes long.

    HeldError, naming the holder, when another run has it; StorageError when it cannot be written.
    """
    lease = Lease(paths, run_id)
    lease.take(note, patience_s)
    keeper = threading.Thread(target=lease.keep, args=(renew_s,), name="lease", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        lease.end()
        keeper.join(JOIN_S)
        lease.give_back()


def demand_lease(paths: LedgerPaths, run_id: str) -> LeaseRecord:
    """What an actor asks before it begins or commits: the lease of its own run.

    HeldError when the lease is another run's, or there is none: what that actor was told to do may be outdated. This
    narrows the time in which a left-over actor could commit beside a newer run; it is no lock and need not be one.
    """
    seen = _see(paths)
    if seen is None:
        raise HeldError(f"{paths.output}: run {run_id} has ended; its actors commit nothing more")
    if seen.record is None or seen.record.run_id != run_id:
        raise HeldError(f"{paths.output}: {_who(seen.record)} has followed run {run_id}, whose actors commit no more")
    return seen.record


class Lease:
    """One run's hold on an output. `keep` is for a thread of its own, everything else for the run's."""

    def __init__(self, paths: LedgerPaths, run_id: str) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._paths = paths
        self._storage = storage_for(paths.lease)
        self._record = LeaseRecord(run_id=run_id, holder=this_process(), since=since)
        self._version = ""
        self._loss: str | None = None
        self._wake = threading.Event()
        self._ended = False
        self._is_stopping = False

    def demand(self) -> None:
        """HeldError once a renewal has found that the lease is another run's."""
        if self._loss is not None:
            raise HeldError(self._loss)

    def confirm(self) -> None:
        """As `demand`, after a look: a run that was suspended may have lost the lease and not renewed it since."""
        with suppress(StorageError):  # as with a renewal: a storage that is away tells nothing
            seen = _see(self._paths)
            if seen is None or not self._is_own(seen):
                self._loss = _lost(self._paths, seen)
        self.demand()

    def stop(self) -> None:
        """Tells the run's actors to begin no more shards; returns before they know."""
        self._is_stopping = True
        self._wake.set()

    def end(self) -> None:
        """Ends `keep`."""
        self._ended = True
        self._wake.set()

    def take(self, note: Callable[[str], None], patience_s: float) -> None:
        """Creates the lease, or follows a holder that is dead or silent; HeldError for one that is neither.

        StorageError where the storage never creates it, though it is not there.
        """
        watched: _Seen | None = None
        refusals: Counter[bytes] = Counter()
        deadline = 0.0
        while True:
            seen = _see(self._paths)
            if seen is None:
                if self._put(if_absent=True):
                    return
                self._wait_for(b"", refusals, patience_s)
                continue
            if self._is_own(seen):  # the answer to the put that made it was lost
                self._version = seen.version
                return
            alive = None if seen.record is None else is_alive(seen.record.holder)
            is_silent = watched is not None and watched.data == seen.data
            if alive is False or (is_silent and time.monotonic() >= deadline):
                if self._put(if_version=seen.version):
                    return
                if refusals[seen.data] == MOST_REFUSALS - 1:
                    self._remove(seen)
                self._wait_for(seen.data, refusals, patience_s)
            elif alive or (watched is not None and not is_silent):
                raise HeldError(_held(self._paths, seen.record))
            else:
                if watched is None:
                    note(f"{_who(seen.record)} may be at work on this output: looking for {patience_s:.0f} s")
                    watched, deadline = seen, time.monotonic() + patience_s
                time.sleep(patience_s / POLLS)

    def keep(self, renew_s: float) -> None:
        """Renews the lease until it is lost or `end` is called. A storage that is away is asked again next time."""
        while self._loss is None:
            self._wake.wait(renew_s)
            self._wake.clear()
            if self._ended:
                return
            try:
                self._renew()
            except StorageError as error:
                log.warning("the lease could not be renewed: %s", error)

    def give_back(self) -> None:
        """Deletes the lease if it is this run's; one that stays is followed by the next run."""
        try:
            seen = _see(self._paths)
            if seen is not None and self._is_own(seen):
                self._remove(seen)
        except StorageError as error:
            log.warning("the lease could not be given back: %s", error)

    def _remove(self, seen: _Seen) -> None:
        """Deletes the lease as it was seen; another one that is there by now stays."""
        with suppress(ChangedError):
            self._storage.delete(self._paths.lease, if_version=seen.version, scratch=self._paths.scratch)

    def _wait_for(self, data: bytes, refusals: Counter[bytes], patience_s: float) -> None:
        """Before the next attempt to write, after one was refused with `data` there; StorageError after too many."""
        refusals[data] += 1
        if refusals[data] > MOST_REFUSALS:
            raise StorageError(self._paths.lease, _refused(data))
        time.sleep(patience_s / POLLS)

    def _put(self, *, if_absent: bool = False, if_version: str | None = None) -> bool:
        """False when another writer was faster."""
        try:
            data, scratch = self._record.encode(), self._paths.scratch
            info = self._storage.put(
                self._paths.lease, data, if_absent=if_absent, if_version=if_version, scratch=scratch
            )
        except (ExistsError, ChangedError):
            return False
        self._version = info.version
        return True

    def _renew(self) -> None:
        self._record = replace(self._record, renewals=self._record.renewals + 1, stopping=self._is_stopping)
        if self._put(if_version=self._version):
            return
        seen = _see(self._paths)
        if seen is not None and self._is_own(seen):
            if seen.version == self._version:  # the storage never overwrites under a condition
                self._put()
            else:  # an earlier renewal, whose answer was lost
                self._version = seen.version
        else:
            self._loss = _lost(self._paths, seen)

    def _is_own(self, seen: _Seen) -> bool:
        return seen.record is not None and seen.record.run_id == self._record.run_id


def _see(paths: LedgerPaths) -> _Seen | None:
    """The lease as it is now, None without one. It is opened, not only asked for: NFS shows clients old attributes."""
    storage = storage_for(paths.lease)
    while True:
        try:
            version = storage.stat(paths.lease).version
            data = storage.read(paths.lease, version=version)
        except NotFoundError:
            return None
        except ChangedError:
            continue
        return _Seen(version=version, data=data, record=LeaseRecord.decode(data))


def _who(record: LeaseRecord | None) -> str:
    return "a run that does not say which" if record is None else f"run {record.run_id} ({record.holder})"


def _held(paths: LedgerPaths, record: LeaseRecord | None) -> str:
    since = "" if record is None else f" since {record.since}"
    return (
        f"{paths.output}: {_who(record)} holds this output{since}; wait until it has ended, or end it (SIGTERM: what "
        "is whole is committed), then run again"
    )


def _refused(data: bytes) -> str:
    found = "another object is there, and there is none" if not data else "it was removed, and it is there"
    return (
        f"the storage said {MOST_REFUSALS + 1} times that {found}; use a server that honours PUT If-None-Match "
        "(`vision-batch doctor SPEC` tries)"
    )


def _lost(paths: LedgerPaths, seen: _Seen | None) -> str:
    now = "nobody holds it now" if seen is None else f"{_who(seen.record)} holds it now"
    return (
        f"{paths.output}: this run has lost its lease, and {now}; it was suspended, or cut off from the storage, for "
        f"longer than {PATIENCE_S:.0f} s. What it has committed stays; run again to resume"
    )
