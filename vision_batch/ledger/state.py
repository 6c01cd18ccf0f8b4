"""What of a plan is done, found by looking at the output: parts are their own commit records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vision_batch.datasets.shard import Shard
from vision_batch.ledger.inspect import Expected, Foreign, inspect, list_parts
from vision_batch.ledger.manifest import StoredPart, read_manifest
from vision_batch.ledger.manifest import write_manifest as _write_manifest
from vision_batch.ledger.patch import Patch
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import Plan
from vision_batch.storage.object_info import ObjectInfo

IMAGE_BYTES = 100_000
"""What an encoded image is taken to have until one shard's rows are known: only progress bars depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputState:
    """One look at an output, against a plan and a definition.

    `current` are the parts of the planned versions, `parts` those of shards that left the input too. `done` has the
    committed cells of the current version of each shard that has any; `complete` the shards whose cells
    0…last are all there. `images_ok` and `errors` (rows by code) count what is done; `kept_rows` are rows of shards
    that left the input. `foreign` files are only reported. `images_total` is None until every shard's rows are known;
    `images_estimate` then guesses from bytes.

    `stale` parts are to be removed at once. `replaced` ones, by the source that they and new shards share, are of an
    earlier version, and no part of the new one is there yet: they stay until its first part is about to come. The
    plan's newest segment is the recorded intent, and a run that dies in between finds the rest of them stale.
    """

    current: tuple[StoredPart, ...]
    parts: tuple[StoredPart, ...]
    done: Mapping[str, frozenset[int]]
    complete: frozenset[str]
    stale: tuple[ObjectInfo, ...]
    replaced: Mapping[str, tuple[StoredPart, ...]]
    kept: tuple[ObjectInfo, ...]
    kept_rows: int
    foreign: tuple[Foreign, ...]
    images_ok: int
    errors: Mapping[str, int]
    images_total: int | None
    images_estimate: int

    @property
    def images_failed(self) -> int:
        return sum(self.errors.values())

    @property
    def images(self) -> int:
        """Rows of the current plan that are committed."""
        return self.images_ok + self.images_failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A shard with something to do, its cells that are done already, and its stored cells that are to be patched."""

    shard: Shard
    done_cells: frozenset[int]
    patches: tuple[Patch, ...] = ()


def look(
    paths: LedgerPaths, plan: Plan, definition_digest: str, *, known: Iterable[StoredPart] | None = None
) -> OutputState:
    """Lists the output once and reads the footers that nobody has read before.

    `known` are parts seen earlier, of which only those count that the listing still shows unchanged: the manifest's
    by default, an earlier look's `parts` within a run.
    """
    seen = read_manifest(paths) if known is None else {part.info.uri: part for part in known}
    expected = Expected.of(plan.shards, plan.superseded, plan.gone, definition_digest)
    found = inspect(paths, list_parts(paths), seen, expected)
    cells: dict[str, dict[int, StoredPart]] = {}
    errors: Counter[str] = Counter()
    for part in found.current:
        cells.setdefault(part.record.shard, {})[part.record.cell] = part
        errors.update(part.record.errors)
    rows = {shard.key: shard.rows for shard in plan.shards}
    rows |= {key: counted for key, parts in cells.items() if (counted := rows_of(parts)) is not None}
    total, estimate = _totals(plan.shards, rows)
    complete = frozenset(key for key, parts in cells.items() if is_complete(parts))
    stale, replaced = _stale(plan, found.stale, cells.keys(), complete)
    return OutputState(
        current=tuple(found.current),
        parts=(*found.current, *found.kept),
        done={key: frozenset(parts) for key, parts in cells.items()},
        complete=complete,
        stale=stale,
        replaced=replaced,
        kept=tuple(part.info for part in found.kept),
        kept_rows=sum(part.record.rows for part in found.kept),
        foreign=tuple(found.foreign),
        images_ok=sum(part.record.images_ok for part in found.current),
        errors=dict(sorted(errors.items())),
        images_total=total,
        images_estimate=estimate,
    )


def todo(plan: Plan, state: OutputState, patches: Mapping[str, tuple[Patch, ...]] | None = None) -> list[Work]:
    """The shards that are not complete or have `patches`, by key, in the plan's order."""
    patches = patches or {}
    return [
        Work(
            shard=shard,
            done_cells=state.done.get(shard.key, frozenset()),
            patches=patches.get(shard.key, ()),
        )
        for shard in plan.shards
        if shard.key not in state.complete or shard.key in patches
    ]


def write_manifest(paths: LedgerPaths, state: OutputState) -> None:
    """Remembers this look for the next run. The manifest is a cache: losing it costs time and nothing else."""
    _write_manifest(paths, state.parts)


def is_complete(parts: Mapping[int, StoredPart]) -> bool:
    """Whether the cells 0…last of a shard are all there."""
    last = min((cell for cell, part in parts.items() if part.record.last), default=None)
    return last is not None and all(cell in parts for cell in range(last + 1))


def rows_of(parts: Mapping[int, StoredPart]) -> int | None:
    """How many rows a shard has, by its last cell; None before that is there."""
    ends = [part.record.first_row + part.record.rows for part in parts.values() if part.record.last]
    return min(ends, default=None)


def _stale(
    plan: Plan, parts: Sequence[StoredPart], begun: Collection[str], complete: Collection[str]
) -> tuple[tuple[ObjectInfo, ...], dict[str, tuple[StoredPart, ...]]]:
    """What must go now, and what may stay until its source's new rows come: rows may have moved between its shards."""
    by_source: dict[str, list[StoredPart]] = {}
    sources = {shard.key: shard.source for shard in plan.shards} if parts else {}
    for part in parts:
        key = part.record.shard
        by_source.setdefault(sources.get(key) or plan.superseded[key], []).append(part)
    waiting = {shard.source for shard in plan.shards if shard.key not in complete} if by_source else set()
    waiting -= {sources[key] for key in begun if key in sources}
    stale = (part.info for source, found in by_source.items() if source not in waiting for part in found)
    return tuple(stale), {source: tuple(found) for source, found in by_source.items() if source in waiting}


def _totals(shards: Iterable[Shard], rows: Mapping[str, int | None]) -> tuple[int | None, int]:
    """Rows of all shards, or None; and an estimate that takes the others to be like those whose rows are known."""
    known_rows = known_bytes = unknown_bytes = 0
    is_known = True
    for shard in shards:
        count = rows[shard.key]
        if count is None:
            is_known = False
            unknown_bytes += shard.size_bytes
        else:
            known_rows += count
            known_bytes += shard.size_bytes
    image_bytes = known_bytes / known_rows if known_rows else IMAGE_BYTES
    guessed = max(1, round(unknown_bytes / max(1.0, image_bytes))) if unknown_bytes else 0
    return (known_rows if is_known else None), known_rows + guessed
