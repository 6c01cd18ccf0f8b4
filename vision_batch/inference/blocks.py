"""How the works of a pass are dealt out: a block of works is one call of an actor, and is given again to another one.

A block costs Ray about a millisecond before the first image is read, so that a pass over very many shards deals several
to a block. Towards the end blocks get smaller, so that no actor works on a long last one while the others are idle.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from vision_batch.ledger.state import Work

MOST_FULL_BLOCKS = 1000
"""What an actor that dies has to do again is at most a thousandth of the pass, or one shard."""


def work_blocks(works: Sequence[Work], readers: int) -> list[pa.Table]:
    """Tables of one row, which Ray does not cut, with works in order; `readers` is how many are in work at once."""
    return [
        pa.table({"works": pa.array([pickle.dumps(works[start:stop])], pa.large_binary())})
        for start, stop in runs(len(works), readers)
    ]


def works_of(block: pa.Table) -> list[Work]:
    """The works of one table of `work_blocks`."""
    (blob,) = block["works"].to_pylist()
    return list(pickle.loads(blob))


def runs(count: int, readers: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges that cover `count` works: of one size, and of less than half an equal share near the end."""
    full = -(-count // MOST_FULL_BLOCKS)
    start = 0
    while start < count:
        stop = start + max(1, min(full, (count - start) // (2 * readers)))
        yield start, stop
        start = stop
