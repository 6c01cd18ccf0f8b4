"""A stage: what turns chunks into the chunks of the next stage."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from vision_batch.errors import VisionBatchError
from vision_batch.inference.stopwatch import Stopwatch

Run: TypeAlias = Callable[[Iterator[Any], Stopwatch], Iterator[Any]]
"""Chunks in, chunks out, one for one and in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """`run` may be called by several threads; `device` says where it works: cpu, cuda:0, ..."""

    device: str
    run: Run


Begun = TypeVar("Begun")


def ahead(begun: Iterator[Begun], count: int) -> Iterator[Begun]:
    """What `begun` yields, of which up to `count` are in work at once: whoever takes one waits for its end.

    A VisionBatchError that ends `begun` is raised behind all that came before it, so that it costs none of these.
    """
    held: deque[Begun] = deque()
    error: VisionBatchError | None = None
    is_over = False
    while not is_over or held:
        while len(held) < count and not is_over:
            try:
                held.append(next(begun))
            except StopIteration:
                is_over = True
            except VisionBatchError as raised:
                error, is_over = raised, True
        if held:
            yield held.popleft()
    if error is not None:
        raise error
