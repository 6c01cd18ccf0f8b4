"""Parts of changed input make way for new ones: no image is ever seen twice, and old rows stay as long as they can."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa

from vision_batch.errors import ChangedError
from vision_batch.ledger.part import PartRecord, commit_part, encode_part
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for

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
        data, scratch = encode_part(table, record), self._paths.scratch
        try:
            storage_for(old.uri).put(old.uri, data, if_version=old.version, scratch=scratch)
        except ChangedError:  # by this put, whose answer got lost, by another writer of the same, or it is gone
            remove_part(
                self._paths, old
            )  # it is still there only where the server's conditional overwrite never succeeds
            return commit_part(self._paths, table, record)
        return record


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
