"""Reads parts whole: are their pages, digests and rows what their records say?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import ChangedError, NotFoundError, PartError
from vision_batch.ledger.findings import Findings
from vision_batch.ledger.image_ids import ImageIds
from vision_batch.ledger.inspect import Foreign
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import PartRecord, error_counts, read_part
from vision_batch.storage.table import storage_for

READERS = 8
"""Parts in memory at once."""


def audit_parts(parts: Sequence[StoredPart], findings: Findings) -> list[Foreign]:
    """Reports parts whose content is not what was written, or not their cell's rows, and image ids that repeat.

    Returns the former. A part that vanishes or is replaced meanwhile is only mentioned: a run is at work.
    """
    damaged: list[Foreign] = []
    ids = ImageIds()
    with ThreadPoolExecutor(READERS, "audit") as pool:
        for part, result in zip(parts, pool.map(_audit, parts), strict=True):
            if result is None:
                findings.warn("moving parts", f"{part.info.uri}: replaced or removed while it was audited")
            elif isinstance(result, PartError):
                findings.problem("damaged parts", str(result))
                damaged.append(Foreign(info=part.info, reason=result.message, record=part.record))
            elif isinstance(result, str):
                findings.problem("parts with wrong rows", f"{part.info.uri}: {result}")
            else:
                ids.add(result)
    ids.report(findings)
    return damaged


def _audit(part: StoredPart) -> NDArray[np.int64] | PartError | str | None:
    """Hashes of the part's image ids, or what is wrong with its bytes or its rows; None when it is no longer there."""
    try:
        data = storage_for(part.info.uri).read(part.info.uri, version=part.info.version)
        record, table = read_part(part.info.uri, data)
    except PartError as error:
        return error
    except (NotFoundError, ChangedError):
        return None
    wrong = _wrong_rows(record, table)
    if wrong:
        return wrong
    ids = table.column("image_id").to_pylist()
    return np.fromiter((hash(image_id) for image_id in ids), np.int64, len(ids))


def _wrong_rows(record: PartRecord, table: pa.Table) -> str | None:
    rows, stop = np.asarray(table.column("row")), record.first_row + record.rows + record.holes
    if np.any(np.diff(rows, prepend=record.first_row - 1) < 1) or np.any(rows[-1:] != stop - 1):
        return f"its column `row` is not {record.first_row} to {stop - 1} in order, without {record.holes} of them"
    if not pc.all(pc.equal(table.column("shard"), record.shard), min_count=0).as_py():
        return f"its column `shard` is not {record.shard!r} everywhere"
    errors = error_counts(table)
    if errors != record.errors:
        return f"holds the errors {errors}, its record says {record.errors}"
    return None
