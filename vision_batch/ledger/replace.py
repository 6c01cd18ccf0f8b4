"""Parts of changed input make way for new ones: no image is ever seen twice, and old rows stay as long as they can."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa

from vision_batch.errors import ChangedError, ExistsError, NotFoundError
from vision_batch.ledger.inspect import list_folder
from vision_batch.ledger.lease import demand_lease
from vision_batch.ledger.part import PartRecord, commit_part, encode_part
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, name

REMOVERS = 16


class Replacer:
    """Commits cells of changed shards; one instance serves the cells of one process, from any of its threads.

    An image may have moved from one cell or shard of its file to another, so that all old parts of a file go before
    the first new one comes. Only where one part takes the place of one part, it does so in a single step.
    """

    def __init__(self, paths: LedgerPaths) -> None:
        self._paths = paths
        self._removed: set[ObjectInfo] = set()
        self._lock = threading.Lock()

    def commit(self, table: pa.Table, record: PartRecord, old: Collection[ObjectInfo]) -> PartRecord:
        """Writes a cell's part in place of the `old` ones of its file; otherwise as `commit_part`."""
        own = self._paths.part(record.shard, record.cell)
        if record.cell == 0 and record.last and [info.uri for info in old] == [own]:
            return self._put_over(table, record, *old)
        with self._lock:
            remove_parts(self._paths, [info for info in old if info not in self._removed])
            self._removed.update(old)
        return commit_part(self._paths, table, record)

    def _put_over(self, table: pa.Table, record: PartRecord, old: ObjectInfo) -> PartRecord:
        try:
            put_over(self._paths, old, encode_part(table, record))
        except ChangedError:  # by this put, whose answer got lost, by another writer of the same, or it is gone
            return commit_part(self._paths, table, record)
        return record


def put_over(paths: LedgerPaths, old: ObjectInfo, data: bytes) -> None:
    """Puts a part in the place of this version of it; ChangedError when another one is there by now, or none.

    In one step, but where the server refuses every conditional overwrite: there the new part is created when the old
    one has gone. It lies in the ledger before that, so that `finish_replacements` can bring it to its place when this
    process ends in between: not all of its rows could be computed again.
    """
    storage = storage_for(old.uri)
    try:
        storage.put(old.uri, data, if_version=old.version, scratch=paths.scratch)
        return
    except ChangedError:
        if not _is_there(old):
            raise
    replacement = paths.replacement(name(old.uri))
    storage.put(replacement, data, scratch=paths.scratch)
    is_ours = remove_part(paths, old) and _put_if_absent(paths, old.uri, data)
    storage.delete(replacement)
    if not is_ours:
        raise ChangedError(old.uri, "another part was put there first")


def finish_replacements(paths: LedgerPaths, run_id: str) -> None:
    """Brings to their places the parts for which old ones have gone; HeldError when the lease is another run's."""
    storage = storage_for(paths.output)
    for info in list_folder(paths.replacements):
        demand_lease(paths, run_id)
        with suppress(NotFoundError):  # its writer is alive after all
            _put_if_absent(paths, join(paths.output, f"{name(info.uri)}.parquet"), storage.read(info.uri))
        storage.delete(info.uri)


def finish_replacement(paths: LedgerPaths, uri: str) -> None:
    """Puts the part `uri` for its writer, who has removed the old one and is alive, and may be about to do so."""
    with suppress(NotFoundError):  # none is on its way, or it has arrived meanwhile
        _put_if_absent(paths, uri, storage_for(uri).read(paths.replacement(name(uri))))


def _is_there(info: ObjectInfo) -> bool:
    try:
        return storage_for(info.uri).stat(info.uri).version == info.version
    except NotFoundError:
        return False


def _put_if_absent(paths: LedgerPaths, uri: str, data: bytes) -> bool:
    """Whether nothing was there."""
    try:
        storage_for(uri).put(uri, data, if_absent=True, scratch=paths.scratch)
    except ExistsError:
        return False
    return True


def remove_parts(paths: LedgerPaths, infos: Collection[ObjectInfo]) -> None:
    """Removes these versions of parts, as `remove_part` does each."""
    with ThreadPoolExecutor(REMOVERS, "remove") as pool:
        for _ in pool.map(lambda info: remove_part(paths, info), infos):
            pass


def remove_part(paths: LedgerPaths, info: ObjectInfo) -> bool:
    """Removes this version of a part; False when another one is in its place by now, which stays.

    `Storage.delete` says how far that holds for what is put there in the very moment: lost parts are computed again.
    """
    with suppress(ChangedError):
        storage_for(info.uri).delete(info.uri, if_version=info.version, scratch=paths.scratch)
        return True
    return False
