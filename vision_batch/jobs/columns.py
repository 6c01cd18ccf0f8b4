"""The types of the columns that come from the input: `truth` and `input_<name>`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

import pyarrow as pa

from vision_batch.datasets.shard import Shard
from vision_batch.errors import LedgerError, SpecError, StorageError
from vision_batch.jobs.prepare import Prepared
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import read_part_schema
from vision_batch.ledger.schema import output_schema
from vision_batch.storage.table import storage_for

ASKED = 64
"""How many parts, and how many shards, are asked for a type that is not known yet."""


def extra_fields(prepared: Prepared, parts: Sequence[StoredPart], shards: Iterable[Shard]) -> tuple[pa.Field, ...]:
    """Each as an earlier part has it, else the first shard that knows it; of type null where nobody does."""
    types = dict.fromkeys(prepared.input.extra_names, pa.null())
    for schema in _schemas(prepared, parts, shards):
        unknown = [name for name, type in types.items() if pa.types.is_null(type)]
        if not unknown:
            break
        types |= {name: schema.field(name).type for name in unknown}
    return tuple(pa.field(name, type) for name, type in types.items())


def _schemas(prepared: Prepared, parts: Sequence[StoredPart], shards: Iterable[Shard]) -> Iterator[pa.Schema]:
    """Of what can be read; a file that cannot will say so itself when its turn comes."""
    for part in islice(parts, ASKED):
        with suppress(StorageError, LedgerError):
            yield read_part_schema(storage_for(part.info.uri), part.info)
    for shard in islice(shards, ASKED):
        with suppress(StorageError, SpecError):
            yield output_schema([], prepared.format.extra_fields(shard, prepared.input))
