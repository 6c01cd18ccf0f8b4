"""Encoded images that wait for their turn: in memory as far as there is room for them, then in temporary files.

How many images a pool has follows from the mean size of what was planned, so that some may be far larger. The order of
an epoch must not depend on that, but the memory may not either.
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import replace
from typing import IO

from vision_batch.datasets.sample import Sample
from vision_batch.errors import UnavailableError


class Room:
    """How many more bytes may be held in memory by all shelves of a process."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Takes so many bytes, or none if there are fewer."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._left += size


class Shelf:
    """The samples of one pool by their places; one thread fills it, then one empties it."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._samples: list[Sample] = []
        self._away: dict[int, tuple[int, int]] = {}
        self._held = 0
        self._file: IO[bytes] | None = None

    def add(self, sample: Sample) -> None:
        """Puts a sample at the next place. UnavailableError where there is no room on disk either."""
        size = len(sample.data or b"")
        if self._room.take(size):
            self._held += size
        elif sample.data is not None:
            self._away[len(self._samples)] = (self._write(sample.data), size)
            sample = replace(sample, data=b"")
        self._samples.append(sample)

    def take(self, place: int) -> Sample:
        """The sample at a place, whose bytes are the caller's from here on; each is taken once."""
        sample = self._samples[place]
        if place in self._away:
            assert self._file is not None
            begin, size = self._away.pop(place)
            self._file.seek(begin)
            return replace(sample, data=self._file.read(size))
        size = len(sample.data or b"")
        self._samples[place] = replace(sample, data=None)
        self._room.give_back(size)
        self._held -= size
        return sample

    def _write(self, data: bytes | memoryview) -> int:
        """Where in the file they are."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open until the shelf is closed)
            begin = self._file.tell()
            self._file.write(data)
            return begin
        except OSError as error:
            message = f"images that wait for their turn cannot be written: {error}"
            raise UnavailableError(tempfile.gettempdir(), message) from error

    def close(self) -> None:
        """Lets go of what was not taken."""
        self._room.give_back(self._held)
        self._held = 0
        self._samples.clear()
        if self._file is not None:
            self._file.close()
