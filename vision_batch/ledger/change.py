"""Changed groups of files: of a group's part only the rows of changed files are computed again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from vision_batch.datasets.shard import PRUNED, Shard
from vision_batch.errors import LedgerError
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.members import read_groups
from vision_batch.ledger.patch import Patch
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.recorded import earlier_shards
from vision_batch.ledger.row_set import RowSet
from vision_batch.storage.object_info import ObjectInfo

log = logging.getLogger(__name__)


def change_patches(
    paths: LedgerPaths, shards: Iterable[Shard], replaced: Mapping[str, Sequence[StoredPart]]
) -> dict[str, Patch]:
    """By key, the patch of each of the `shards` that is a group with one part, of another version, among `replaced`.

    None for a part whose version the ledger does not know, or whose members of then are lost or damaged: all of it is
    computed again. LedgerError when members of the `shards` are.
    """
    bases = {key: parts[0] for key, parts in replaced.items() if len(parts) == 1 and parts[0].record.shard == key}
    if not bases:
        return {}
    before = earlier_shards(paths, {key: part.record.version for key, part in bases.items()})
    pairs = [(before[shard.key], shard) for shard in shards if shard.key in before and shard.group is not None]
    patches: dict[str, Patch] = {}
    for _, together in groupby(pairs, key=lambda pair: pair[0].group and pair[0].group.stored_in):
        olds, news = zip(*together, strict=True)
        try:
            was = list(read_groups(paths, olds))
        except LedgerError as error:
            log.warning("%s is lost or damaged: what changed of it since is computed whole", error.uri)
            continue
        for (_, old), (shard, new) in zip(was, read_groups(paths, news), strict=True):
            patches[shard.key] = _patch(bases[shard.key], old, new)
    return patches


def _patch(base: StoredPart, old: Sequence[ObjectInfo], new: Sequence[ObjectInfo]) -> Patch:
    """A member that left the input and was not pruned is in both as it was when its row was computed: the row stays."""
    pairs = list(enumerate(zip(old, new, strict=True)))
    rows = RowSet.of(row for row, (was, now) in pairs if now != was and now.version != PRUNED)
    return Patch(
        base=base,
        rows=rows,
        dropped=RowSet.of(row for row, (was, now) in pairs if now != was and now.version == PRUNED),
        added=sum(old[row].version == PRUNED for row in rows),
    )
