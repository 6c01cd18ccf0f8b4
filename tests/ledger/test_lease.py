"""One run at a time holds an output; whoever died or fell silent is followed, whoever lives is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from vision_batch.errors import ChangedError, HeldError, StorageError, UnavailableError
from vision_batch.ledger.holder import Holder, this_process
from vision_batch.ledger.lease import Lease, LeaseRecord, demand_lease, held_lease
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.local import LocalStorage
from vision_batch.storage.table import storage_for

ELSEWHERE = Holder(host="gpu-7", boot="b", pid_namespace="n", pid=4711, ticks=5)
QUICK = {"renew_s": 0.05, "patience_s": 0.6}


@pytest.fixture
def paths(tmp_path: Path) -> LedgerPaths:
    return LedgerPaths(str(tmp_path / "out"))


def record(holder: Holder = ELSEWHERE, run_id: str = "other") -> LeaseRecord:
    return LeaseRecord(run_id=run_id, holder=holder, since="2026-01-02T03:04:05+00:00")


def leave(paths: LedgerPaths, lease: LeaseRecord | bytes) -> None:
    """Puts a lease there, as a run would that says no more."""
    data = lease if isinstance(lease, bytes) else lease.encode()
    storage_for(paths.lease).put(paths.lease, data, scratch=paths.scratch)


def stored(paths: LedgerPaths) -> LeaseRecord | None:
    return LeaseRecord.decode(storage_for(paths.lease).read(paths.lease))


def dead_process() -> Holder:
    """A process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        return replace(this_process(), pid=process.pid, ticks=1)


def wait_until(condition: object, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lease_says_who_holds_the_output_and_is_gone_afterwards(paths: LedgerPaths) -> None:
    with held_lease(paths, "mine") as lease:
        found = stored(paths)
        assert found is not None
        assert (found.run_id, found.holder, found.stopping) == ("mine", this_process(), False)
        assert demand_lease(paths, "mine") == found
        lease.demand()
    assert not Path(paths.lease).exists()


def test_it_is_given_back_also_when_the_run_fails(paths: LedgerPaths) -> None:
    with pytest.raises(ZeroDivisionError), held_lease(paths, "mine"):
        _ = 1 / 0
    assert not Path(paths.lease).exists()


def test_a_holder_that_lives_here_is_not_followed_and_named(paths: LedgerPaths) -> None:
    start = time.monotonic()
    with held_lease(paths, "first"), pytest.raises(HeldError) as caught, held_lease(paths, "second"):
        pytest.fail("two at once")
    assert time.monotonic() - start < 2
    for fact in (paths.output, "run first", f"process {os.getpid()} on", "since 20"):
        assert fact in str(caught.value)


def test_a_holder_that_died_here_is_followed_at_once(paths: LedgerPaths) -> None:
    leave(paths, record(dead_process()))
    start = time.monotonic()
    with held_lease(paths, "mine"):
        assert stored(paths).run_id == "mine"
    assert time.monotonic() - start < 2


def test_a_storage_that_never_overwrites_is_said_and_not_asked_for_ever(
    paths: LedgerPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(paths, record(dead_process()))
    asked = []

    def refuse(self: LocalStorage, uri: str, data: bytes, **options: object) -> None:
        asked.append(uri)
        assert len(asked) < 10
        raise ChangedError(uri, "412 PreconditionFailed")

    monkeypatch.setattr(LocalStorage, "put", refuse)
    with pytest.raises(StorageError, match="honours PUT If-None-Match"), held_lease(paths, "mine", **QUICK):
        pytest.fail("it was never written")
    assert len(asked) == 3 + 4, "over the dead run's lease, and where there is none"


@pytest.mark.s3
def test_where_nothing_is_overwritten_under_a_condition_a_lease_is_taken_renewed_and_lost_all_the_same(
    rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(rgw_s3.server.address) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        proxy.rules = [Rule(kind="status", match="^PUT", header="^if-match:", status=501, code="NotImplemented")]
        paths = LedgerPaths(f"{rgw_s3.uri}/out")
        for left in (record(dead_process()), record()):
            leave(paths, left)
            with held_lease(paths, "mine", **QUICK) as lease:
                wait_until(lambda: stored(paths).renewals >= 2)
                lease.stop()
                wait_until(lambda: demand_lease(paths, "mine").stopping)
        with held_lease(paths, "mine", **QUICK) as lease:
            leave(paths, record())
            wait_until(lambda: lost(lease))
        assert stored(paths) == record()


@pytest.mark.parametrize("lease", [record(), b"", b"{", b'{"format": 99}', json.dumps({"format": 1}).encode()])
def test_an_unknown_holder_is_followed_when_it_is_silent(paths: LedgerPaths, lease: LeaseRecord | bytes) -> None:
    leave(paths, lease)
    notes: list[str] = []
    start = time.monotonic()
    with held_lease(paths, "mine", note=notes.append, **QUICK):
        assert 0.6 <= time.monotonic() - start < 5
        assert stored(paths).run_id == "mine"
    (note,) = notes
    assert ("gpu-7" in note) == isinstance(lease, LeaseRecord)


def test_an_unknown_holder_that_renews_is_not_followed(paths: LedgerPaths) -> None:
    leave(paths, record())
    renewal = threading.Timer(0.2, leave, [paths, replace(record(), renewals=1)])
    renewal.start()
    with pytest.raises(HeldError, match="process 4711 on gpu-7"), held_lease(paths, "mine", **QUICK):
        pytest.fail("it was renewed")
    renewal.join()
    assert stored(paths).run_id == "other"


def test_a_lease_that_is_given_back_is_taken_at_once(paths: LedgerPaths) -> None:
    leave(paths, record())
    end = threading.Timer(0.2, Path(paths.lease).unlink)
    end.start()
    with held_lease(paths, "mine", patience_s=30):
        end.join()
        assert stored(paths).run_id == "mine"


def test_the_lease_is_renewed_while_it_is_held(paths: LedgerPaths) -> None:
    with held_lease(paths, "mine", **QUICK):
        wait_until(lambda: stored(paths).renewals >= 3)


def test_a_run_that_lost_its_lease_is_told_and_touches_nothing_of_the_next(paths: LedgerPaths) -> None:
    with held_lease(paths, "mine", **QUICK) as lease:
        leave(paths, record())
        wait_until(lambda: lost(lease))
        with pytest.raises(HeldError, match=r"run other .*gpu-7"):
            lease.demand()
        with pytest.raises(HeldError, match="run other"):
            demand_lease(paths, "mine")
    assert stored(paths) == record()


def test_a_run_that_wakes_after_a_long_time_looks_before_it_goes_on(paths: LedgerPaths) -> None:
    with held_lease(paths, "mine", renew_s=60) as lease:
        lease.confirm()
        leave(paths, record())
        with pytest.raises(HeldError, match="run other"):
            lease.confirm()


def test_a_lease_that_vanished_is_lost(paths: LedgerPaths) -> None:
    with held_lease(paths, "mine", **QUICK) as lease:
        Path(paths.lease).unlink()
        wait_until(lambda: lost(lease))
        with pytest.raises(HeldError, match="ended"):
            demand_lease(paths, "mine")
    assert not Path(paths.lease).exists()


def lost(lease: Lease) -> bool:
    try:
        lease.demand()
    except HeldError:
        return True
    return False


def test_a_storage_that_is_away_for_a_while_costs_no_lease(paths: LedgerPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    put, failures = LocalStorage.put, []

    def away(self: LocalStorage, uri: str, data: bytes, **options: object) -> object:
        if uri == paths.lease and options.get("if_version") and len(failures) < 3:
            failures.append(uri)
            raise UnavailableError(uri, "not now")
        return put(self, uri, data, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalStorage, "put", away)
    with held_lease(paths, "mine", **QUICK) as lease:
        before = stored(paths).renewals
        wait_until(lambda: len(failures) == 3 and stored(paths).renewals > before)
        lease.demand()


def test_actors_are_told_that_their_run_is_stopping(paths: LedgerPaths) -> None:
    with held_lease(paths, "mine", renew_s=60) as lease:
        lease.stop()
        wait_until(lambda: demand_lease(paths, "mine").stopping)


@pytest.mark.s3
def test_one_of_many_takes_it_on_s3(s3: S3Bucket) -> None:
    """Free at first, then left by a dead process; renewed between."""
    paths = LedgerPaths(f"{s3.uri}/out")
    for before in (None, record(dead_process())):
        if before is not None:
            leave(paths, before)
        leases = [Lease(paths, f"run-{number}") for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            winners = [number for number, won in enumerate(pool.map(takes, leases)) if won]
        assert len(winners) == 1
        assert stored(paths).run_id == f"run-{winners[0]}"
        leases[winners[0]].give_back()
    with held_lease(paths, "mine", **QUICK):
        wait_until(lambda: stored(paths).renewals >= 2)
    with pytest.raises(HeldError, match="has ended"):
        demand_lease(paths, "mine")


def takes(lease: Lease) -> bool:
    try:
        lease.take(lambda text: None, 5)
    except HeldError:
        return False
    return True


@given(st.binary() | st.builds(lambda at, bit: flipped(at, bit), st.integers(0), st.integers(0, 7)))
@example(json.dumps({"format": 1, "holder": {**dict.fromkeys(ELSEWHERE.__slots__, ""), "pid": -1}}).encode())
def test_whatever_lies_there_is_a_lease_or_none(data: bytes) -> None:
    found = LeaseRecord.decode(data)
    assert found is None or found.holder.pid > 0


def flipped(at: int, bit: int) -> bytes:
    data = bytearray(record().encode())
    data[at % len(data)] ^= 1 << bit
    return bytes(data)
