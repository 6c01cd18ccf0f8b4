"""Error rows that are to be processed again: which rows of which stored parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vision_batch.errors import ChangedError, NotFoundError, PartError
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.patch import Patch
from vision_batch.ledger.row_set import RowSet
from vision_batch.ledger.sealed_parquet import DAMAGE, read_footer
from vision_batch.storage.table import storage_for

READERS = 16


def rows_to_retry(
    parts: Iterable[StoredPart], codes: Collection[str], run: str
) -> Iterator[tuple[StoredPart, RowSet | PartError]]:
    """Parts with the numbers of their rows whose error has one of `codes`; parts that count none are not opened.

    Parts that `run` has written are left as they are: what failed again has its row. A damaged part has its PartError.
    """

    def rows(part: StoredPart) -> RowSet | PartError:
        try:
            return error_rows(part, codes)
        except PartError as error:
            return error

    wanted = [part for part in parts if part.record.run != run and not part.record.errors.keys().isdisjoint(codes)]
    with ThreadPoolExecutor(READERS, "retry") as pool:
        yield from zip(wanted, pool.map(rows, wanted), strict=True)


def error_rows(part: StoredPart, codes: Collection[str]) -> RowSet:
    """The numbers of a part's rows that have one of `codes`; two columns are read.

    None of a part that is no longer the one that was seen: the next look sees what is there then. PartError for a
    damaged part.
    """
    storage = storage_for(part.info.uri)
    try:
        metadata = pq.read_metadata(pa.BufferReader(read_footer(storage, part.info)))
        with storage.open(part.info) as stream:
            file = pq.ParquetFile(stream, metadata=metadata, pre_buffer=False, page_checksum_verification=True)
            table = file.read(["row", "error_code"], use_threads=False)
    except (NotFoundError, ChangedError):
        return RowSet()
    except DAMAGE as error:
        raise PartError(part.info.uri, f"damaged: {error}") from error
    failed = table.filter(pc.is_in(table.column("error_code"), pa.array(sorted(codes), pa.string())))
    return RowSet.of(failed.column("row").to_pylist())


def with_retries(
    changed: Mapping[str, Patch], current: Iterable[StoredPart], codes: Collection[str], run: str
) -> tuple[dict[str, tuple[Patch, ...]], list[PartError]]:
    """By shard, the patches of changed groups and of all rows of `current` parts that are to be retried.

    No patch has a base that is found to be damaged: of a changed group all is computed again, and of the `current`
    parts that keep their errors therefore the reasons are returned.
    """
    patches: dict[str, tuple[Patch, ...]] = {key: (patch,) for key, patch in changed.items()}
    damaged = []
    parts = [*current, *(patch.base for patch in changed.values())]
    for part, rows in rows_to_retry(parts, codes, run):
        key = part.record.shard
        if isinstance(rows, PartError) and key in changed:
            del patches[key]
        elif isinstance(rows, PartError):
            damaged.append(rows)
        elif key in changed:
            patches[key] = (_extended(changed[key], rows),)
        elif rows:
            patches[key] = (*patches.get(key, ()), Patch(base=part, rows=rows, retried=len(rows)))
    return patches, damaged


def _extended(patch: Patch, rows: Iterable[int]) -> Patch:
    """With these rows of its base, but those that go or are computed anyway."""
    more = set(rows).difference(patch.rows, patch.dropped)
    return replace(patch, rows=RowSet.of({*patch.rows, *more}), retried=len(more))
