"""Looks at every Parquet file of an output: whose it is, and whether it counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vision_batch.datasets.shard import Shard
from vision_batch.errors import ChangedError, NotFoundError, PartError
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import PartRecord, read_part_record
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import name

READERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A Parquet file that is no part of this output, or a damaged one. A run reports it and never removes it."""

    info: ObjectInfo
    reason: str
    record: PartRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the plan and the definition say of parts."""

    versions: Mapping[str, str]
    superseded: Collection[str]
    gone: frozenset[str]
    definition: str | None

    @classmethod
    def of(
        cls, shards: Iterable[Shard], superseded: Collection[str], gone: frozenset[str], definition: str | None
    ) -> Expected:
        return cls(
            versions={shard.key: shard.version for shard in shards},
            superseded=superseded,
            gone=gone,
            definition=definition,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Every Parquet file in exactly one list.

    `current`: cells of the planned version. `stale`: of an earlier version of a planned shard, or of a superseded key;
    they must go before new parts come. `kept`: of shards that left the input. `foreign`: none of ours, or damaged.
    """

    current: list[StoredPart]
    stale: list[StoredPart]
    kept: list[StoredPart]
    foreign: list[Foreign]

    @property
    def parts(self) -> list[StoredPart]:
        """All but the foreign files."""
        return [*self.current, *self.kept, *self.stale]


def list_parts(paths: LedgerPaths) -> list[ObjectInfo]:
    """What readers of OUTPUT/*.parquet see; empty when there is no output."""
    return [info for info in list_folder(paths.output) if paths.is_table_file(info.uri)]


def list_folder(uri: str) -> list[ObjectInfo]:
    """Every object below a folder; none when it does not exist."""
    try:
        return list(storage_for(uri).list(uri))
    except NotFoundError:
        return []


def inspect(
    paths: LedgerPaths, files: Iterable[ObjectInfo], known: Mapping[str, StoredPart], expected: Expected
) -> Inspection:
    """Sorts the files by their records: from `known` where size and version are the same, else from their footers."""
    found = Inspection(current=[], stale=[], kept=[], foreign=[])
    for part in read_records(paths, files, known):
        reason = None if isinstance(part, Foreign) else _why_foreign(paths, part, expected)
        if isinstance(part, Foreign):
            found.foreign.append(part)
        elif reason is not None:
            found.foreign.append(Foreign(info=part.info, reason=reason, record=part.record))
        elif part.record.shard in expected.versions:
            is_current = part.record.version == expected.versions[part.record.shard]
            (found.current if is_current else found.stale).append(part)
        else:
            (found.kept if part.record.shard in expected.gone else found.stale).append(part)
    return found


def read_records(
    paths: LedgerPaths, files: Iterable[ObjectInfo], known: Mapping[str, StoredPart]
) -> Iterator[StoredPart | Foreign]:
    """The files, in any order, each with its record: from `known` or its footer; none of those that are gone by now."""
    storage = storage_for(paths.output)

    def read(info: ObjectInfo) -> StoredPart | Foreign | None:
        try:
            while True:
                try:
                    return StoredPart(info=info, record=read_part_record(storage, info))
                except ChangedError:
                    info = storage.stat(info.uri)  # replaced since the listing: what is there now counts
        except PartError as error:
            return Foreign(info=info, reason=error.message)
        except NotFoundError:
            return None  # removed since the listing

    unknown = []
    for info in files:
        part = known.get(info.uri)
        if part is not None and part.info == info:
            yield part
        else:
            unknown.append(info)
    if unknown:
        with ThreadPoolExecutor(READERS, "footer") as pool:
            yield from (part for part in pool.map(read, unknown) if part is not None)


def _why_foreign(paths: LedgerPaths, part: StoredPart, expected: Expected) -> str | None:
    record = part.record
    own_name = paths.part_name(record.shard, record.cell)
    if name(part.info.uri) != own_name:
        return f"a copy of cell {record.cell} of {record.shard}, whose part is {own_name}"
    if expected.definition is not None and record.definition != expected.definition:
        return "predicted under another definition"
    if not any(record.shard in keys for keys in (expected.versions, expected.superseded, expected.gone)):
        return f"of a shard that the plan does not know: {record.shard}"
    return None
