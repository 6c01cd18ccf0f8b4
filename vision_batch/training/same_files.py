"""Holds what is stored now against what a training began with, file by file, as two ordered streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, repeat

from vision_batch.datasets.shard import PRUNED, Shard
from vision_batch.errors import Problem, SpecError
from vision_batch.ledger.members import load_members
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.object_info import ObjectInfo

EXAMPLES = 5


def demand_same_files(before: Iterable[ObjectInfo], now: Iterable[ObjectInfo], where: str, what: str) -> None:
    """SpecError, with examples and counts, unless the files `now` are those of `before`, both in order of URIs.

    `where` is the key of the spec that names them, and `what` they are: the input.
    """
    shown: list[str] = []
    counts: Counter[str] = Counter()
    for uri, change in _differences(before, now):
        counts[change] += 1
        if len(shown) < EXAMPLES:
            shown.append(f"{uri} is {change}")
    if shown:
        more = " …; in all " + ", ".join(f"{count:,} {change}" for change, count in sorted(counts.items()))
        found = ", ".join(shown) + (more if counts.total() > EXAMPLES else "")
        raise SpecError(Problem(where, found, _expected(what)))


def demand_same_input(
    paths: LedgerPaths, before: Sequence[Shard], planned: Sequence[Shard], now: Iterable[ObjectInfo], where: str
) -> None:
    """SpecError unless the `planned` shards are those that there were `before`; then the files `now` are looked at."""
    if {shard.key: shard.version for shard in before} == {shard.key: shard.version for shard in planned}:
        return
    demand_same_files(_files(paths, before), now, where, "the input")
    raise SpecError(Problem(where, "the same files, read in another way or by other names", _expected("the input")))


def _expected(what: str) -> str:
    return f"{what} that this training began with, or another output to train on what is there now"


def _files(paths: LedgerPaths, shards: Iterable[Shard]) -> Iterator[ObjectInfo]:
    """The files of shards, each once, in order: those of one input's groups follow each other."""
    runs: dict[str, list[Shard]] = {}
    for shard in shards:
        runs.setdefault(shard.input_name, []).append(shard)
    files = merge(*(_run(paths, run) for run in runs.values()), key=_uri)
    return (next(same) for _, same in groupby(files, key=_uri))


def _run(paths: LedgerPaths, shards: list[Shard]) -> Iterator[ObjectInfo]:
    for shard in sorted(shards, key=lambda shard: shard.files[0].uri if shard.files else ""):
        yield from (file for file in load_members(paths, shard).files if file.version != PRUNED)


def _differences(before: Iterable[ObjectInfo], now: Iterable[ObjectInfo]) -> Iterator[tuple[str, str]]:
    sides = zip(before, repeat("gone")), zip(now, repeat("new"))
    for uri, found in groupby(merge(*sides, key=_side_uri), key=_side_uri):
        files, sides_of_it = zip(*found, strict=True)
        if len(files) == 1:
            yield uri, sides_of_it[0]
        elif files[0] != files[1]:
            yield uri, "changed"


def _side_uri(listed: tuple[ObjectInfo, str]) -> str:
    return listed[0].uri


def _uri(file: ObjectInfo) -> str:
    return file.uri
