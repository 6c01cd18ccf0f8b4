"""Which server acts, when one dies, hangs, or wakes up again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vision_batch.cluster.schedule.leader import LEASE_S, Leadership
from vision_batch.cluster.schedule.store import NotLeadingError, Store
from vision_batch.errors import SpecError
from vision_batch.ledger.holder import Holder


class Servers:
    """Any number of servers on one state, each with a clock of its own; `dead` are the pids known to be dead."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.dead: set[int] = set()
        self.stores: dict[int, Store] = {}
        self.clocks: dict[int, float] = {}

    def start(self, pid: int, serves: str = "/jobs") -> Leadership:
        self.stores[pid] = Store(self.state)
        self.clocks[pid] = 1000.0 * pid
        return Leadership(
            self.stores[pid],
            Holder(host="here", boot="b", pid_namespace="n", pid=pid, ticks=1),
            serves=serves,
            clock=lambda: self.clocks[pid],
            alive=lambda holder: False if holder.pid in self.dead else None,
        )


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(tmp_path / "state.sqlite")
    yield servers
    for store in servers.stores.values():
        store.close()


def test_the_first_acts_and_the_second_stands_by(servers: Servers) -> None:
    first, second = servers.start(1), servers.start(2)
    assert [first.acquire(), second.acquire(), first.acquire()] == [True, False, True]
    with pytest.raises(NotLeadingError):
        second.confirm()


def test_one_that_serves_other_specs_needs_a_state_of_its_own(servers: Servers) -> None:
    first, other = servers.start(1), servers.start(2, serves="/more-jobs")
    first.acquire()
    with pytest.raises(SpecError, match=r"--state: .* serves /jobs; expected a file of its own for /more-jobs"):
        other.acquire()
    first.release()
    assert other.acquire()


def test_one_that_is_known_to_be_dead_is_followed_at_once(servers: Servers) -> None:
    first, second = servers.start(1), servers.start(2)
    first.acquire()
    servers.dead.add(1)
    assert second.acquire()


def test_one_that_ended_in_order_is_followed_at_once(servers: Servers) -> None:
    first, second = servers.start(1), servers.start(2)
    first.acquire()
    first.release()
    assert second.acquire()
    assert not first.acquire()


def test_one_that_gives_no_sign_of_life_is_followed_after_a_while(servers: Servers) -> None:
    first, second = servers.start(1), servers.start(2)
    first.acquire()
    assert not second.acquire()
    servers.clocks[2] += LEASE_S - 1
    assert not second.acquire()
    servers.clocks[2] += 1
    assert second.acquire()


@pytest.mark.parametrize("sign", ["acquire", "confirm"])
def test_every_sign_of_life_counts(servers: Servers, sign: str) -> None:
    first, second = servers.start(1), servers.start(2)
    first.acquire()
    for _ in range(5):
        assert not second.acquire()
        servers.clocks[2] += LEASE_S - 1
        getattr(first, sign)()
    assert not second.acquire()


def test_one_that_waits_for_a_cluster_gives_signs_of_life(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.cluster.schedule.leader.BEAT_S", 0.01)
    first, second = servers.start(1), servers.start(2)
    first.acquire()
    assert not second.acquire()
    before = servers.stores[2].leader().beat
    with first.kept():
        deadline = time.monotonic() + 10
        while servers.stores[2].leader().beat == before:
            assert time.monotonic() < deadline, "no sign of life"
        servers.clocks[2] += LEASE_S
        assert not second.acquire()
    silent = servers.stores[2].leader().beat
    time.sleep(0.05)
    assert servers.stores[2].leader().beat == silent


def test_one_that_hangs_gives_none(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.cluster.schedule.leader.BEAT_S", 0.01)
    monkeypatch.setattr("vision_batch.cluster.schedule.leader.LONGEST_WORK_S", 0.0)
    first, second = servers.start(1), servers.start(2)
    first.acquire()
    with first.kept():
        time.sleep(0.1)
        assert not second.acquire()
        servers.clocks[2] += LEASE_S
        assert second.acquire()


def test_how_long_the_second_itself_was_away_does_not_count(servers: Servers) -> None:
    first, second = servers.start(1), servers.start(2)
    first.acquire()
    assert not second.acquire()
    first.acquire()
    servers.clocks[2] += 3600  # it was suspended
    assert not second.acquire()


def test_one_that_wakes_up_can_change_nothing_any_more(servers: Servers) -> None:
    first, second = servers.start(1), servers.start(2)
    first.acquire()
    token = first.token
    servers.dead.add(1)
    second.acquire()
    with pytest.raises(NotLeadingError), servers.stores[1].transaction(token):
        pytest.fail("it may not get here")
    with pytest.raises(NotLeadingError):
        first.confirm()
    servers.dead.clear()
    assert not first.acquire()
    with pytest.raises(NotLeadingError):
        _ = first.token


def test_one_that_was_suspended_in_vain_goes_on(servers: Servers) -> None:
    first = servers.start(1)
    first.acquire()
    servers.clocks[1] += 3600
    with servers.stores[1].transaction(first.token):
        pass
