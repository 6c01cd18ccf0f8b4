"""Patches: some rows of a stored cell are computed again, some are dropped, the others stay as they are stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vision_batch.errors import ChangedError, NotFoundError, PartConflictError, PartError
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import PartRecord, encode_part, read_part, read_part_record, recounted, with_way_out
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.replace import finish_replacement, put_over
from vision_batch.ledger.row_set import RowSet
from vision_batch.storage.table import storage_for

NONE = RowSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What becomes of one stored cell: `rows` are computed, and `dropped` go.

    Of the former `added` are new to the cell, and `retried` are computed only because they are error rows. A patch is
    frozen when it is planned: `base` is the part as it was seen then, and a part that is another one by now is not
    patched.
    """

    base: StoredPart
    rows: RowSet
    dropped: RowSet = NONE
    added: int = 0
    retried: int = 0

    @property
    def kept(self) -> int:
        """How many rows stay as they are stored."""
        return self.base.record.rows - (len(self.rows) - self.added) - len(self.dropped)

    @property
    def cell(self) -> int:
        return self.base.record.cell


def commit_patch(paths: LedgerPaths, patch: Patch, table: pa.Table | None, *, version: str, run: str) -> PartRecord:
    """Puts in a part's place one with the rows of `table` instead of its own; returns what now stands there.

    `table` has exactly the patch's rows, in order; None where it has none. `version` is the shard's that it was
    computed from. When the base is no longer there, a part of the same cell and version in its place is success: this
    patch, put before its answer got lost, or another run's. PartConflictError for anything else there; PartError when
    the base is damaged.
    """
    info = patch.base.info
    storage = storage_for(info.uri)
    try:
        record, base = read_part(info.uri, storage.read(info.uri, version=info.version))
        patched = splice(base, base.slice(0, 0) if table is None else table, patch.rows, patch.dropped)
        record = recounted(patched, replace(record, version=version, run=run))
        put_over(paths, info, encode_part(patched, record))
    except (ChangedError, NotFoundError):
        return _standing(paths, patch, version)
    except PartError as error:
        raise with_way_out(error, paths) from error
    return record


def splice(base: pa.Table, table: pa.Table, rows: RowSet, dropped: RowSet = NONE) -> pa.Table:
    """The table of `base` with the rows of `table` in place of those that have the same numbers, without the `dropped`.

    Rows are in the order of their numbers. The columns are those of `table`: in an older part one that nobody knew may
    be of type null. ValueError unless `table` has exactly `rows`.
    """
    computed, wanted = table.column("row").to_numpy(), rows.numbers()
    if not np.array_equal(computed, wanted):
        raise ValueError(f"computed were the rows {computed[:10]}, the patch is of {wanted[:10]}")
    leaving = pc.is_in(base.column("row"), pa.array(np.concatenate([wanted, dropped.numbers()])))
    kept = base.filter(pc.invert(leaving)).cast(table.schema)
    return pa.concat_tables([kept, table]).sort_by("row").combine_chunks()


def _standing(paths: LedgerPaths, patch: Patch, version: str) -> PartRecord:
    """The record of what is in the base's place by now."""
    uri = patch.base.info.uri
    try:
        stored = _record_at(uri)
    except (ChangedError, NotFoundError):  # another run is between its two steps: see `put_over`
        finish_replacement(paths, uri)
        stored = _record_at(uri)
    if not stored.is_same_cell(replace(patch.base.record, version=version)):
        raise PartConflictError(uri, "another run has replaced it meanwhile; run again")
    return stored


def _record_at(uri: str) -> PartRecord:
    storage = storage_for(uri)
    return read_part_record(storage, storage.stat(uri))
