"""Temporary files that dead writers left in an output's ledger."""

from __future__ import annotations

from vision_batch.ledger.inspect import list_folder
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.table import storage_for


def clear_scratch(paths: LedgerPaths) -> int:
    """Removes every temporary file, and counts them. A writer that is alive after all writes its file again."""
    leftovers = list_folder(paths.scratch)
    for info in leftovers:
        storage_for(info.uri).delete(info.uri)
    return len(leftovers)
