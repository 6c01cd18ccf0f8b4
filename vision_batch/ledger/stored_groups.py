"""What groups of files were when the parts that they have were computed."""

from __future__ import annotations

from functools import cached_property

from vision_batch.datasets.shard import Shard
from vision_batch.errors import LedgerError
from vision_batch.ledger.inspect import list_parts, read_records
from vision_batch.ledger.manifest import read_manifest
from vision_batch.ledger.members import load_members
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.recorded import Recorded, earlier_shards
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.uri import name


class StoredGroups:
    """Groups that have a part. Nothing is read before somebody asks: plans whose files are all there never do."""

    def __init__(self, paths: LedgerPaths, recorded: Recorded) -> None:
        """`recorded` is the plan before this one."""
        self._paths = paths
        self._recorded = recorded

    def has(self, group: Shard) -> bool:
        """Judged by the name of its one part: a damaged one is there until a repair sets it aside."""
        return self._paths.part_name(group.key, 0) in self._parts

    def files(self, group: Shard, planned: tuple[ObjectInfo, ...]) -> tuple[ObjectInfo, ...]:
        """The group's files in the versions that the rows of its part are of, in their places.

        These are the `planned` ones, unless others were planned and not computed yet; and where nobody knows any more.
        """
        before = self._before.get(group.key)
        if before is None:
            return planned
        try:
            return load_members(self._paths, before).files
        except LedgerError:
            return planned

    @cached_property
    def _parts(self) -> dict[str, ObjectInfo]:
        return {name(info.uri): info for info in list_parts(self._paths)}

    @cached_property
    def _before(self) -> dict[str, Shard]:
        """The groups that were planned anew since their parts were computed, as they were then."""
        paths, recorded = self._paths, self._recorded
        names = (paths.part_name(key, 0) for key in recorded.rewritten)
        infos = [self._parts[part] for part in names if part in self._parts]
        records = (part.record for part in read_records(paths, infos, read_manifest(paths) if infos else {}))
        versions = {
            record.shard: record.version
            for record in records
            if record is not None
            and record.shard in recorded.rewritten
            and record.version != recorded.shards[record.shard].version
        }
        return earlier_shards(paths, versions) if versions else {}
