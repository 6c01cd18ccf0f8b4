"""Which of the servers on one state acts: the others stand by and follow it.

No two clocks are compared, so none may be wrong. The acting server adds to `beat` as it works; one that stands by
watches, and follows when it has seen no change for LEASE_S seconds of its own, or at once when the process is known to
be dead. Who follows takes a new token. One that was suspended and wakes up still holds the old token, and every change
that it tries is refused: see `Store.transaction`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from threading import Event, Thread

from vision_batch.cluster.schedule.store import Leader, NotLeadingError, Store
from vision_batch.errors import Problem, ScheduleError, SpecError
from vision_batch.ledger.holder import Holder, is_alive

LEASE_S = 15.0
"""Longer than an acting server is silent."""
BEAT_S = 5.0
LONGEST_WORK_S = 300.0
"""A server whose work takes longer hangs, and gives no more signs of life: another one may have more luck."""


class Leadership:
    """The part that this server has in it.

    `serves` says what it would do, for people; `clock` gives seconds that never go back.
    """

    def __init__(
        self,
        store: Store,
        holder: Holder,
        *,
        serves: str,
        clock: Callable[[], float] = time.monotonic,
        alive: Callable[[Holder], bool | None] = is_alive,
    ) -> None:
        self._store = store
        self._holder = holder
        self._serves = serves
        self._clock = clock
        self._alive = alive
        self._seen: Leader | None = None
        self._seen_at = 0.0
        self._token: int | None = None

    @property
    def token(self) -> int:
        """What proves that this server acts. NotLeadingError when it does not."""
        if self._token is None:
            raise NotLeadingError
        return self._token

    def acquire(self) -> bool:
        """Whether this server acts from now on, or still does. SpecError when another acts that serves other specs."""
        with self._store.transaction():
            leader = self._store.leader()
            if leader.token != self._token:
                self._token = None
                if not self._is_free(leader):
                    self._demand_the_same(leader)
                    return False
                leader = Leader(holder=self._holder, serves=self._serves, token=leader.token + 1, beat=0)
            self._store.put_leader(replace(leader, beat=leader.beat + 1))
        self._token = leader.token
        return True

    def confirm(self) -> None:
        """Another sign of life, just before something is done that no transaction can undo. NotLeadingError."""
        _beat(self._store, self.token)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Signs of life while work goes on, however long a cluster takes to answer, up to LONGEST_WORK_S.

        Without them two servers would take the lead from each other for as long as that, and neither finish anything.
        """
        is_over = Event()
        thread = Thread(target=self._keep, args=(self.token, is_over), name="signs of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _keep(self, token: int, is_over: Event) -> None:
        until = time.monotonic() + LONGEST_WORK_S
        while not is_over.wait(BEAT_S) and time.monotonic() < until:
            # a connection is one thread's; whoever works learns by itself that it does not lead or cannot write
            with suppress(NotLeadingError, ScheduleError), closing(Store(self._store.path)) as store:
                _beat(store, token)

    def release(self) -> None:
        """Lets another server follow at once."""
        if self._token is not None:
            with self._store.transaction(self._token):
                self._store.put_leader(replace(self._store.leader(), holder=None))
            self._token = None

    def _demand_the_same(self, leader: Leader) -> None:
        if leader.serves != self._serves:
            found = f"{self._store.path}, with which {leader.holder} serves {leader.serves}"
            raise SpecError(Problem("--state", found, f"a file of its own for {self._serves}"))

    def _is_free(self, leader: Leader) -> bool:
        if leader.holder is None or self._alive(leader.holder) is False:
            return True
        if leader != self._seen:
            self._seen, self._seen_at = leader, self._clock()
        return self._clock() - self._seen_at >= LEASE_S


def _beat(store: Store, token: int) -> None:
    with store.transaction(token):
        leader = store.leader()
        store.put_leader(replace(leader, beat=leader.beat + 1))
