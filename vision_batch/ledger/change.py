"""Changed groups of files: of a group's part only the rows of changed files are computed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from vision_batch.datasets.shard import PRUNED, Shard
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.members import read_groups
from vision_batch.ledger.patch import Patch
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.recorded import earlier_shards
from vision_batch.storage.object_info import ObjectInfo


def change_patches(
    paths: LedgerPaths, shards: Iterable[Shard], replaced: Mapping[str, Sequence[StoredPart]]
) -> dict[str, Patch]:
    """By key, the patch of each of the `shards` that is a group with one part, of another version, among `replaced`.

    None for a part whose version the ledger does not know: all of it is computed again. LedgerError when members are
    lost or damaged.
    """
    bases = {key: parts[0] for key, parts in replaced.items() if len(parts) == 1 and parts[0].record.shard == key}
    if not bases:
        return {}
    before = earlier_shards(paths, {key: part.record.version for key, part in bases.items()})
    pairs = [(before[shard.key], shard) for shard in shards if shard.key in before and shard.group is not None]
    members = zip(_files(paths, (old for old, _ in pairs)), _files(paths, (new for _, new in pairs)), strict=True)
    return {
        shard.key: _patch(bases[shard.key], old, new) for (_, shard), (old, new) in zip(pairs, members, strict=True)
    }


def _files(paths: LedgerPaths, shards: Iterable[Shard]) -> Iterator[tuple[ObjectInfo, ...]]:
    return (files for _, files in read_groups(paths, shards))


def _patch(base: StoredPart, old: Sequence[ObjectInfo], new: Sequence[ObjectInfo]) -> Patch:
    """A member that left the input and was not pruned is in both as it was when its row was computed: the row stays."""
    pairs = list(enumerate(zip(old, new, strict=True)))
    rows = tuple(row for row, (was, now) in pairs if now != was and now.version != PRUNED)
    return Patch(
        base=base,
        rows=rows,
        dropped=tuple(row for row, (was, now) in pairs if now != was and now.version == PRUNED),
        added=sum(old[row].version == PRUNED for row in rows),
    )
