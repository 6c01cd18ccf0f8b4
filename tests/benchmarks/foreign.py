"""What other processes take of this machine's cores meanwhile: a comparison that they disturb says nothing."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

LOOK_EVERY_S = 2.0
OURS = frozenset({"radosgw", "ceph-osd", "ceph-mon"})
"""Started for a measurement, and nobody's children."""
KERNEL = 2
"""The parent of the kernel's threads. They work for whoever gives memory back or writes files, which is us: a virtual
machine's kernel was seen to take 8 to 19 % of a core to tell its host of pages that a job had freed."""
TICKS = os.sysconf("SC_CLK_TCK")


class ForeignWork:
    """Within the block, adds up the CPU time of processes that do not descend from this one. Linux; elsewhere none."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self._start = time.monotonic()
        self._seconds = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ForeignWork:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._seconds = time.monotonic() - self._start

    @property
    def share(self) -> float:
        """Of all cores, when the block has ended."""
        return self.cpu_s / (self._seconds * (os.cpu_count() or 1))

    def _watch(self) -> None:
        before = foreign_ticks()
        while not self._stop.wait(LOOK_EVERY_S):
            now = foreign_ticks()
            # one that is new has done all of its work since
            self.cpu_s += sum(max(0, ticks - before.get(pid, 0)) for pid, ticks in now.items()) / TICKS
            before = now


def foreign_ticks() -> dict[int, int]:
    """CPU time so far, in ticks of the kernel, by process id."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        if name not in OURS and KERNEL not in (pid, parents[pid]):
            ticks[pid] = int(fields[11]) + int(fields[12])
    return {pid: count for pid, count in ticks.items() if not _descends(pid, parents)}


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = parents.get(pid, 0)
    return False
