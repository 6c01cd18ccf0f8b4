"""The reading of shards: by the actor itself, or with care in a child process, so that a shard may kill its reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from typing import TypeAlias

from vision_batch.errors import ShardError
from vision_batch.inference.child_process import STARTS, ChildDied, Children
from vision_batch.inference.chunk import EncodedChunk
from vision_batch.inference.stage import Stage
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.ledger.state import Work

Read: TypeAlias = Callable[[Work], Iterator[EncodedChunk]]
"""A work's chunks. The same work gives the same chunks, always."""


@contextmanager
def reading(read: Read, *, careful: bool) -> Iterator[Read]:
    """`read` for one of Ray's calls, one work after the other; if it is `careful`, in a child of its own.

    Then a work whose reading kills one child after the other is a ShardError. `read` can be pickled.
    """
    if not careful:
        yield read
        return
    children = Children(partial(_stage, read))
    try:
        yield partial(_carefully, children)
    finally:
        children.close()


def _carefully(children: Children, work: Work) -> Iterator[EncodedChunk]:
    for index in count():
        chunk = _chunk(children, work, index)
        if chunk is None:
            return
        yield chunk


def _chunk(children: Children, work: Work, index: int) -> EncodedChunk | None:
    """Chunk number `index`, None behind the last."""
    try:
        chunk: EncodedChunk | None = children.insist((work, index), Stopwatch())
    except ChildDied as died:
        raise ShardError(
            work.shard.source,
            f"its reading kills: {STARTS} processes, one after the other, died before they had chunk {index} of "
            f"{work.shard.key}, the last one so: {died}; mend, replace or remove it and run again",
        ) from died
    return chunk


def _stage(read: Read) -> Stage:
    """In the child: a question is a work and the number of a chunk, the answer that chunk."""
    return Stage(device="cpu", run=_Reader(read).answers)


class _Reader:
    """Goes on where the last question left off, or starts anew: a successor passes over what is known."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._next = ("", 0)
        self._chunks: Iterator[EncodedChunk] = iter(())

    def answers(self, questions: Iterator[tuple[Work, int]], watch: Stopwatch) -> Iterator[EncodedChunk | None]:
        for work, index in questions:
            if self._next != (work.shard.key, index):
                self._chunks = islice(self._read(work), index, None)
            self._next = (work.shard.key, index + 1)
            yield next(self._chunks, None)
