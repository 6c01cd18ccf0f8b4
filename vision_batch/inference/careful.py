"""A stage in a child process, so that an image that kills costs a child and not the actor; finds the image to blame.

A chunk is given to the child whole. If the child dies of it, a new one gets its images one by one. An image is blamed
when processes have died while they held it alone, one after the other: two by a fault of their own, or three in any
way, so that who kills from outside once or twice blames nobody. The images that survive have their results; the one to
blame becomes an error row, `worker_killed`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from vision_batch.errors import CrashError
from vision_batch.inference.child_process import STARTS, ChildDied, Children
from vision_batch.inference.stage import Stage
from vision_batch.inference.stopwatch import Stopwatch

FAULTY_DEATHS = 2
"""How many processes must have died by themselves, holding an image alone, before it is blamed."""

DEATHS = 3
"""The same where something else may have ended them: somebody's kill, or a neighbour that took the memory."""

PAUSE_S = 1.0
"""Between two such deaths: what kills processes one after the other from outside is not to look like the image."""

STRIDE = 8
"""Images are tried alone in strides of at least so many: where neighbours all kill, as in one folder, one that survives
is soon met."""

KILLERS_AT_FIRST = 5
"""When the first so many images kill, and none has ever survived, it is the code that kills and not the images."""

KILLERS_IN_A_ROW = 100
"""The same where the code is known to work: some such images side by side are believed, of more the shard is undone."""


class Careful:
    """Runs a stage in a child process. One call at a time. `proven` says that images have been predicted before."""

    def __init__(self, make: Callable[[], Stage], *, proven: bool, pause_s: float = PAUSE_S) -> None:
        self._children = Children(make)
        self._pause_s = pause_s
        self._most_in_a_row = KILLERS_IN_A_ROW if proven else KILLERS_AT_FIRST
        self._in_a_row = 0

    @property
    def device(self) -> str:
        return self._children.device

    def run(self, chunks: Iterator[Any], watch: Stopwatch) -> Iterator[Any]:
        """As the stage's own `run`. CrashError when processes die and no single image can be blamed for it."""
        return (self._chunk(chunk, watch) for chunk in chunks)

    def close(self) -> None:
        """Ends the child and gives back what it holds."""
        self._children.close()

    def _chunk(self, chunk: Any, watch: Stopwatch) -> Any:
        singles = chunk.singles()
        if len(singles) != 1:
            try:
                return self._survived(self._children.ask(chunk, watch))
            except ChildDied:
                pass
        results = {place: self._single(singles[place], watch) for place in places(len(singles))}
        if not results:
            return self._insist(chunk, watch)
        return type(results[0]).merged([results[place] for place in range(len(singles))])

    def _single(self, single: Any, watch: Stopwatch) -> Any:
        deaths: list[ChildDied] = []
        while len(deaths) < DEATHS and sum(death.by_itself for death in deaths) < FAULTY_DEATHS:
            if deaths:
                time.sleep(self._pause_s)
                self._insist(single.killed("not this time"), watch)  # what kills any process is not the image
            try:
                return self._survived(self._children.ask(single, watch))
            except ChildDied as died:
                deaths.append(died)
        how = f"{len(deaths)} processes died while they held this image alone, the last time {deaths[-1]}"
        self._in_a_row += 1
        if self._in_a_row >= self._most_in_a_row:
            raise CrashError(
                f"{self._in_a_row} images one after the other have each killed the processes that held it alone, and "
                f"none survived in between, so it is the code or the machine and not the images; {how}"
            )
        return self._insist(single.killed(how), watch)

    def _survived(self, result: Any) -> Any:
        if result.good_images:
            self._in_a_row, self._most_in_a_row = 0, KILLERS_IN_A_ROW
        return result

    def _insist(self, harmless: Any, watch: Stopwatch) -> Any:
        """The result of what no process can die of by itself."""
        try:
            return self._children.insist(harmless, watch)
        except ChildDied as died:
            raise CrashError(f"{STARTS} processes died without an image in work: {died}") from died


def places(count: int) -> list[int]:
    """All of `count` images in the order in which they are tried, the first KILLERS_AT_FIRST far from each other."""
    stride = max(STRIDE, count // KILLERS_AT_FIRST)
    return [place for start in range(stride) for place in range(start, count, stride)]
