"""The types of the columns that come from the input: `truth` and `input_<name>`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import pyarrow as pa

from vision_batch.datasets.shard import Shard
from vision_batch.errors import LedgerError, SpecError, StorageError
from vision_batch.jobs.prepare import Prepared
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import read_part_schema
from vision_batch.ledger.schema import output_schema
from vision_batch.storage.table import storage_for

PARTS_ASKED = 8


def extra_fields(prepared: Prepared, parts: Sequence[StoredPart], shards: Iterable[Shard]) -> tuple[pa.Field, ...]:
    """As an earlier part has them, else the first shard that can be read; of type null where nobody knows."""
    names = prepared.input.extra_names
    if not names:
        return ()
    for part in islice(parts, PARTS_ASKED):
        try:
            stored = read_part_schema(storage_for(part.info.uri), part.info)
        except (StorageError, LedgerError):
            continue
        found = tuple(stored.field(name) for name in names)
        if _are_known(found):
            return found
    for shard in shards:
        try:
            fields = output_schema([], prepared.format.extra_fields(shard, prepared.input))
        except (StorageError, SpecError):  # this shard will say so itself, and stay undone
            continue
        found = tuple(fields.field(name) for name in names)
        if _are_known(found):
            return found
    return tuple(pa.field(name, pa.null()) for name in names)


def _are_known(fields: Sequence[pa.Field]) -> bool:
    return not any(pa.types.is_null(field.type) for field in fields)
