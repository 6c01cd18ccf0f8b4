"""Patches: some rows of a stored cell are computed again, the others stay as they are stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vision_batch.errors import ChangedError, NotFoundError, PartConflictError, PartError
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import (
    PartRecord,
    encode_part,
    error_counts,
    read_part,
    read_part_record,
    seal,
    with_way_out,
)
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.table import storage_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What becomes of one stored cell: `rows`, ascending, are computed again. It is frozen when it is planned.

    `base` is the part as it was seen then; a part that is another one by now is not patched.
    """

    base: StoredPart
    rows: tuple[int, ...]

    @property
    def cell(self) -> int:
        return self.base.record.cell


def commit_patch(paths: LedgerPaths, patch: Patch, table: pa.Table, *, version: str, run: str) -> PartRecord:
    """Replaces a part by one with the rows of `table` instead of its own, in one step; returns what now stands there.

    `table` has exactly the patch's rows, in order; `version` is the shard's that it was computed from. When the base
    is no longer there, a part of the same cell and version in its place is success: this patch, put before its answer
    got lost, or another run's. PartConflictError for anything else there; PartError when the base is damaged.
    """
    info = patch.base.info
    storage = storage_for(info.uri)
    wanted = replace(patch.base.record, version=version)
    try:
        record, base = read_part(info.uri, storage.read(info.uri, version=info.version))
        patched = splice(base, table, patch.rows)
        record = _sealed(patched, record, version=version, run=run)
        storage.put(info.uri, encode_part(patched, record), if_version=info.version, scratch=paths.scratch)
    except (ChangedError, NotFoundError):
        return _standing(patch, wanted)
    except PartError as error:
        raise with_way_out(error, paths) from error
    return record


def splice(base: pa.Table, table: pa.Table, rows: tuple[int, ...]) -> pa.Table:
    """The table of `base` with the rows of `table` in place of those that have the same numbers, in their order.

    The columns are those of `table`: in an older part one that nobody knew may be of type null. ValueError unless
    `table` has exactly `rows`.
    """
    computed = table.column("row").to_numpy()
    if not np.array_equal(computed, rows):
        raise ValueError(f"computed were the rows {computed[:10]}, the patch is of {rows[:10]}")
    kept = base.filter(pc.invert(pc.is_in(base.column("row"), table.column("row").combine_chunks())))
    return pa.concat_tables([kept.cast(table.schema), table]).sort_by("row").combine_chunks()


def _sealed(table: pa.Table, base: PartRecord, *, version: str, run: str) -> PartRecord:
    errors = error_counts(table)
    images_ok = table.num_rows - sum(errors.values())
    rows = table.num_rows
    return seal(
        table,
        replace(base, version=version, run=run, rows=rows, images_ok=images_ok, errors=dict(sorted(errors.items()))),
    )


def _standing(patch: Patch, wanted: PartRecord) -> PartRecord:
    """The record of what is in the base's place by now."""
    uri = patch.base.info.uri
    storage = storage_for(uri)
    stored = read_part_record(storage, storage.stat(uri))
    if not stored.is_same_cell(wanted):
        raise PartConflictError(uri, "another run has replaced it meanwhile; run again")
    return stored
