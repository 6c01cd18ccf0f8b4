"""Puts right what an audit can prove about an output; what it cannot prove stays as it is, and stays reported."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from vision_batch.errors import ChangedError, ExistsError, NotFoundError, PartError
from vision_batch.ledger.inspect import Foreign
from vision_batch.ledger.lease import Lease, held_lease
from vision_batch.ledger.part import read_part
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.replace import remove_part
from vision_batch.ledger.run_record import new_run_id
from vision_batch.ledger.scratch import clear_scratch
from vision_batch.ledger.segment import read_segments
from vision_batch.ledger.verify import Audit, VerifyReport, audit_output
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import name

log = logging.getLogger(__name__)

Remove = Callable[[ObjectInfo], bool]
"""Removes a part, and says whether it was still the one that was audited; HeldError once another run has the output."""


def repair(output: str, *, note: Callable[[str], None] = log.info) -> VerifyReport:
    """Audits an output deeply, mends what it can, and audits again; `repaired` says what was done, a line each.

    - A part of a cell under another name is removed when the cell's own part is there, intact and of the same version.
    - A part of a version that was planned once and has been replaced since is removed. Those of groups stay: the next
      run keeps their unchanged rows.
    - What lies in a cell's place and is not its part, because it is damaged or something else, is set aside into the
      ledger: the next run computes the cell anew.
    - Temporary files are removed.

    Nothing else is touched, files of other names least of all. A repair needs the output for itself: HeldError while a
    run is at work, or has followed a repair that was suspended; `note` hears why it waits. SpecError when there is no
    output.
    """
    paths = LedgerPaths(output)
    audit_output(paths, deep=False)  # where there is no output, no lease is made
    with held_lease(paths, new_run_id(), note=note) as lease:
        audit = audit_output(paths, deep=True)

        def remove(info: ObjectInfo) -> bool:
            lease.confirm()  # a repair that was suspended knows no more what is superseded
            return remove_part(paths, info)

        done = [*_remove_copies(paths, audit, remove), *_remove_superseded(paths, audit, remove)]
        done += [*_set_aside(paths, audit, remove), *_remove_temporary(paths, lease)]
        return replace(audit_output(paths, deep=True).report, repaired=done) if done else audit.report


def _remove_copies(paths: LedgerPaths, audit: Audit, remove: Remove) -> Iterator[str]:
    damaged = {file.info.uri for file in audit.damaged}
    intact = {part.info.uri: part.record for part in audit.found.parts if part.info.uri not in damaged}
    for copy in audit.found.foreign:
        if copy.record is not None:
            own = paths.part(copy.record.shard, copy.record.cell)
            is_doubled = own in intact and own != copy.info.uri and intact[own].is_same_cell(copy.record)
            if is_doubled and remove(copy.info):
                yield f"removed {copy.info.uri}: it doubles the rows of {name(own)}, which is there and intact"


def _remove_superseded(paths: LedgerPaths, audit: Audit, remove: Remove) -> Iterator[str]:
    stale = audit.found.stale
    versions = _planned_versions(paths, {part.record.shard for part in stale}) if stale else frozenset()
    for part in stale:
        if (part.record.shard, part.record.version) in versions and remove(part.info):
            yield f"removed {part.info.uri}: of an earlier version of {part.record.shard}"


def _planned_versions(paths: LedgerPaths, keys: set[str]) -> frozenset[tuple[str, str]]:
    """Keys and versions of the shards among `keys` that are no groups, all that were ever planned.

    The present versions are among them, but no stale part has one while the lease keeps the plan as it was audited.
    """
    shards = (entry.shard for segment in read_segments(paths, keys) for entry in segment)
    return frozenset((shard.key, shard.version) for shard in shards if shard.group is None)


def _set_aside(paths: LedgerPaths, audit: Audit, remove: Remove) -> Iterator[str]:
    suspects = [*audit.damaged, *audit.found.foreign]
    stems = {paths.part_stem(key) for key in audit.keys} if suspects else set()
    for file in suspects:
        if paths.stem_of(file.info.uri) in stems:
            where = _move(paths, file, audit.definition, remove)
            if where is not None:
                yield f"set aside {file.info.uri}: {file.reason}; it is {where} now"


def _move(paths: LedgerPaths, file: Foreign, definition: str | None, remove: Remove) -> str | None:
    """Where in the ledger the file is now; None when it is gone, or good when it is read once more."""
    storage = storage_for(file.info.uri)
    try:
        data = storage.read(file.info.uri, version=file.info.version)
    except (NotFoundError, ChangedError):
        return None
    if _is_own(paths, file.info.uri, data, definition):
        return None
    where = paths.damaged(name(file.info.uri), hashlib.sha256(data).hexdigest()[:16])
    with suppress(ExistsError):  # the same bytes, from a repair that ended before it could delete them here
        storage.put(where, data, if_absent=True, scratch=paths.scratch)
    return where if remove(file.info) else None


def _is_own(paths: LedgerPaths, uri: str, data: bytes, definition: str | None) -> bool:
    """Whether the bytes are the part of the cell whose place they lie in."""
    try:
        record, _ = read_part(uri, data)
    except PartError:
        return False
    return paths.part(record.shard, record.cell) == uri and definition in (None, record.definition)


def _remove_temporary(paths: LedgerPaths, lease: Lease) -> Iterator[str]:
    lease.confirm()
    count = clear_scratch(paths)
    if count:
        yield f"removed {count} temporary files of {paths.scratch}"
