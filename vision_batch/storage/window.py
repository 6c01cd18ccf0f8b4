"""Many reads at once, handed out in order, within a budget of bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from vision_batch.errors import StorageError
from vision_batch.storage.storage import ReadRequest

Submit = Callable[[ReadRequest], "Future[bytes]"]
GUESS_BYTES = 2 << 20
"""Reserved for an object of unknown size until others have told how large objects are here."""


def read_in_order(
    requests: Iterable[ReadRequest], submit: Submit, *, most_requests: int, most_bytes: int
) -> Iterator[bytes | StorageError]:
    """Whole objects in the order of `requests`; a StorageError is yielded in its object's place.

    At most `most_requests` are submitted and not yet handed out, and a request waits while what it will probably take
    does not fit into `most_bytes` beside the bodies that were read but not handed out and those on their way. One
    request is always let through, so that an object larger than the whole budget can be read.
    """
    window = _Window(most_requests=most_requests, most_bytes=most_bytes)
    remaining = iter(requests)
    upcoming = next(remaining, None)
    try:
        while True:
            while upcoming is not None and window.admits(upcoming):
                window.add(upcoming, submit(upcoming))
                upcoming = next(remaining, None)
            if not window.entries:
                return
            if window.first_is_ready():
                yield window.take()
            else:
                window.wait()
    finally:
        window.cancel()


@dataclass(slots=True, eq=False)
class _Entry:
    """One submitted request and the bytes that it holds: expected ones until it is done, then its body's."""

    future: Future[bytes]
    reserved_bytes: int
    settled: bool = False


@dataclass(slots=True, kw_only=True)
class _Window:
    most_requests: int
    most_bytes: int
    entries: deque[_Entry] = field(default_factory=deque)
    held_bytes: int = 0
    guess_bytes: int = GUESS_BYTES
    changed: threading.Condition = field(default_factory=threading.Condition)
    completions: int = 0
    seen: int = 0

    def admits(self, request: ReadRequest) -> bool:
        with self.changed:
            self.seen = self.completions
            if not self.entries:
                return True
            fits = self.held_bytes + self._expected_bytes(request) <= self.most_bytes
            return fits and len(self.entries) < self.most_requests

    def add(self, request: ReadRequest, future: Future[bytes]) -> None:
        entry = _Entry(future, self._expected_bytes(request))
        with self.changed:
            self.held_bytes += entry.reserved_bytes
            self.entries.append(entry)
        future.add_done_callback(lambda _: self._settle(entry))

    def first_is_ready(self) -> bool:
        return self.entries[0].settled

    def take(self) -> bytes | StorageError:
        """The first entry's outcome, whose bytes are the caller's from here on."""
        future = self.entries[0].future
        try:
            return future.result()
        except StorageError as error:
            return error
        finally:
            with self.changed:
                self.held_bytes -= self.entries.popleft().reserved_bytes

    def wait(self) -> None:
        """Until a read has ended since somebody last looked."""
        with self.changed:
            self.changed.wait_for(lambda: self.completions != self.seen)
            self.seen = self.completions

    def cancel(self) -> None:
        for entry in self.entries:
            entry.future.cancel()

    def _expected_bytes(self, request: ReadRequest) -> int:
        return self.guess_bytes if request.size_bytes is None else request.size_bytes

    def _settle(self, entry: _Entry) -> None:
        """A read ended: its true size takes the place of the expected one, and teaches what to expect."""
        failed = entry.future.cancelled() or entry.future.exception() is not None
        size_bytes = 0 if failed else len(entry.future.result())
        with self.changed:
            self.held_bytes += size_bytes - entry.reserved_bytes
            entry.reserved_bytes = size_bytes
            # The largest of late, forgotten slowly: one large object lowers the concurrency for a while, not for ever.
            if not failed:
                self.guess_bytes = max(size_bytes, self.guess_bytes * 15 // 16)
            entry.settled = True
            self.completions += 1
            self.changed.notify()
