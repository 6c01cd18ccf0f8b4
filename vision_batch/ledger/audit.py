"""Reads parts whole: are their pages, digests and rows what their records say?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import ChangedError, NotFoundError, PartError
from vision_batch.ledger.findings import Findings
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import PartRecord, read_part
from vision_batch.storage.table import storage_for

READERS = 8
"""Parts in memory at once."""


def audit_parts(parts: Sequence[StoredPart], findings: Findings) -> None:
    """Reports every part whose content is not what was written, and image ids that occur more than once.

    Ids are compared by 64-bit hashes, 8 bytes of memory per image: among 10⁹ images a false alarm has the odds 1 : 37.
    """
    hashes: list[NDArray[np.int64]] = []
    with ThreadPoolExecutor(READERS, "audit") as pool:
        for part, result in zip(parts, pool.map(_audit, parts), strict=True):
            if isinstance(result, str):
                findings.problem("damaged parts", f"{part.info.uri}: {result}")
            else:
                hashes.append(result)
    repeated = _repeated(hashes)
    if repeated:
        findings.warn(
            "repeated image ids",
            f"{repeated} rows repeat the image_id of another row: image_id does not identify an image here, "
            "shard and row do",
        )


def _audit(part: StoredPart) -> NDArray[np.int64] | str:
    """Hashes of the part's image ids, or what is wrong with it."""
    try:
        data = storage_for(part.info.uri).read(part.info.uri, version=part.info.version)
        record, table = read_part(part.info.uri, data)
    except PartError as error:
        return error.message
    except (NotFoundError, ChangedError):
        return "removed or replaced during the audit: another run is at work"
    wrong = _wrong_rows(record, table)
    if wrong:
        return wrong
    ids = table.column("image_id").to_pylist()
    return np.fromiter((hash(image_id) for image_id in ids), np.int64, len(ids))


def _wrong_rows(record: PartRecord, table: pa.Table) -> str | None:
    rows = np.asarray(table.column("row"))
    if not np.array_equal(rows, np.arange(record.first_row, record.first_row + record.rows)):
        return f"its column `row` is not {record.first_row} to {record.first_row + record.rows - 1} in order"
    if not pc.all(pc.equal(table.column("shard"), record.shard), min_count=0).as_py():
        return f"its column `shard` is not {record.shard!r} everywhere"
    errors = Counter(code for code in table.column("error_code").to_pylist() if code is not None)
    if dict(errors) != record.errors:
        return f"holds the errors {dict(errors)}, its record says {record.errors}"
    return None


def _repeated(hashes: Sequence[NDArray[np.int64]]) -> int:
    if not hashes:
        return 0
    every = np.concatenate(hashes)
    every.sort()
    return int(np.count_nonzero(every[1:] == every[:-1]))
