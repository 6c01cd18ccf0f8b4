"""`run --limit N`: which rows of which shards are the first N images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from vision_batch.datasets.shard import Shard
from vision_batch.jobs.prepare import Prepared


def row_limits(prepared: Prepared, shards: Sequence[Shard]) -> dict[str, int] | None:
    """Rows to take of each shard, by key; shards beyond the limit are absent. None without a limit.

    A shard whose rows nobody has counted yet is read as far as the limit reaches: N is small when a spec is tried.
    """
    if prepared.limit is None:
        return None
    left = prepared.limit
    limits: dict[str, int] = {}
    for shard in shards:
        if left <= 0:
            break
        limits[shard.key] = min(left, shard.rows) if shard.rows is not None else _count(prepared, shard, left)
        left -= limits[shard.key]
    return limits


def _count(prepared: Prepared, shard: Shard, most: int) -> int:
    samples = prepared.format.read(shard, prepared.input, lambda row: True)
    return sum(1 for _ in islice(samples, most))
