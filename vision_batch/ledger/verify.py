"""Audits an output from its parts' footers, the plan and the manifest, without looking at the input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vision_batch.datasets.shard import Shard
from vision_batch.errors import LedgerError, Problem, SpecError
from vision_batch.ledger.audit import audit_parts
from vision_batch.ledger.definition import ClaimedOutput, read_definition
from vision_batch.ledger.findings import Findings
from vision_batch.ledger.inspect import Expected, Inspection, inspect, list_parts
from vision_batch.ledger.manifest import StoredPart, read_manifest
from vision_batch.ledger.part import PartRecord
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.recorded import Recorded, read_recorded
from vision_batch.ledger.state import is_complete


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What an audit found; `ok` is the absence of problems.

    `rows` are those of every part, wherever it belongs; `images` are the distinct ones, by (shard, row); `duplicated`
    is the difference. `missing` counts planned images without a row: None when nobody knows yet how many there are.
    `complete` says that every planned shard is. `parts` counts the Parquet files, foreign ones too.
    """

    ok: bool
    complete: bool
    images: int
    rows: int
    missing: int | None
    duplicated: int
    parts: int
    problems: list[str]
    warnings: list[str]


def verify(output: str, *, deep: bool = False) -> VerifyReport:
    """Reads every footer; with `deep` every page too, and compares checksums, digests and the rows' identities.

    SpecError when there is no output at all; storage errors pass through.
    """
    paths, findings = LedgerPaths(output), Findings()
    files = list_parts(paths)
    claimed, recorded = _claimed(paths, findings), _recorded(paths, findings)
    if not files and not findings.problems and claimed is None and not recorded.segments:
        raise SpecError(Problem("output", f"nothing at {output}", "the output.uri of a run"))
    gone = recorded.gone
    shards = [shard for key, shard in recorded.shards.items() if key not in gone]
    digest = claimed.definition.digest if claimed else None
    expected = Expected.of(shards, frozenset(recorded.superseded), gone, digest)
    found = inspect(paths, files, {}, expected)
    manifest = _current_of(read_manifest(paths), expected)
    _check_ledger(claimed, recorded, findings)
    _check_files(found, claimed, findings)
    _check_manifest(found, manifest, findings)
    incomplete, missing = _check_shards(shards, found, manifest, findings)
    if deep:
        audit_parts([*found.current, *found.kept, *found.stale], findings)
    rows, images = _count(found)
    return VerifyReport(
        ok=not findings.problems,
        complete=not incomplete,
        images=images,
        rows=rows,
        missing=missing,
        duplicated=rows - images,
        parts=len(files),
        problems=findings.problems,
        warnings=findings.warnings,
    )


def _claimed(paths: LedgerPaths, findings: Findings) -> ClaimedOutput | None:
    try:
        return read_definition(paths)
    except LedgerError as error:
        findings.problem("damage in the ledger", str(error))
        return None


def _recorded(paths: LedgerPaths, findings: Findings) -> Recorded:
    try:
        return read_recorded(paths)
    except LedgerError as error:
        findings.problem("damage in the ledger", str(error))
        return Recorded()


def _check_ledger(claimed: ClaimedOutput | None, recorded: Recorded, findings: Findings) -> None:
    if claimed is None:
        findings.problem("losses of the ledger", "the ledger has no definition: nothing says what predicted these rows")
    if not recorded.segments:
        findings.problem("losses of the ledger", "the ledger has no plan: nothing says which images there should be")


def _check_files(found: Inspection, claimed: ClaimedOutput | None, findings: Findings) -> None:
    """Each file for itself: whose it is, and whether its record makes sense."""
    for foreign in found.foreign:
        findings.problem("foreign files", f"{foreign.info.uri}: {foreign.reason}")
    for part in found.stale:
        findings.problem("stale parts", f"{part.info.uri}: of an earlier version of the input; run again to replace it")
    for part in found.kept:
        findings.warn("kept parts", f"{part.info.uri}: its shard {part.record.shard} is no longer in the input")
    for part in found.current:
        wrong = _wrong_facts(part.record, claimed.cell_rows if claimed else None)
        if wrong:
            findings.problem("records that contradict themselves", f"{part.info.uri}: {wrong}")


def _wrong_facts(record: PartRecord, cell_rows: int | None) -> str | None:
    if record.images_ok + sum(record.errors.values()) != record.rows:
        return f"{record.images_ok} good images and {record.errors} do not add up to {record.rows} rows"
    if cell_rows is None:
        return None
    if record.first_row != record.cell * cell_rows:
        return f"begins with row {record.first_row}, cell {record.cell} begins with row {record.cell * cell_rows}"
    if record.rows > cell_rows or (record.rows < cell_rows and not record.last):
        return f"holds {record.rows} rows of a cell of {cell_rows}"
    return None


def _check_manifest(found: Inspection, manifest: Mapping[str, StoredPart], findings: Findings) -> None:
    """The manifest is a cache: where it differs from a part, the part is right."""
    stored = {part.info.uri: part for part in found.current}
    for uri, remembered in manifest.items():
        part = stored.get(uri)
        if part is None:
            findings.problem("lost parts", f"{uri}: the manifest knows it, and it is not there as it was; run again")
        elif part.info == remembered.info and part.record != remembered.record:
            findings.warn("differences to the manifest", f"{uri}: the manifest remembers another record of this file")


def _check_shards(
    shards: Iterable[Shard], found: Inspection, manifest: Mapping[str, StoredPart], findings: Findings
) -> tuple[int, int | None]:
    """How many shards are not complete, and how many images have no row: None when that is not known."""
    cells = _by_shard(found.current)
    remembered = _by_shard(manifest.values())
    incomplete, missing, is_known = 0, 0, True
    for shard in shards:
        parts = cells.get(shard.key, {})
        last = min((cell for cell, part in parts.items() if part.record.last), default=None)
        if last is not None and last < max(parts):
            findings.problem(
                "cells after the last", f"{shard.key}: cell {last} says it is the last, {max(parts)} exists"
            )
        total = _total_rows(shard, parts, remembered.get(shard.key, {}))
        present = sum(part.record.rows for part in parts.values())
        if is_complete(parts):
            if total is not None and present != total:
                findings.problem("wrong row counts", f"{shard.key}: {present} rows, planned were {total}")
            continue
        incomplete += 1
        is_known = is_known and total is not None
        missing += 0 if total is None else total - present
        findings.problem("incomplete shards", f"{shard.key}: {_gap(parts, last)}; run again to complete it")
    return incomplete, missing if is_known else None


def _total_rows(shard: Shard, parts: Mapping[int, StoredPart], remembered: Mapping[int, StoredPart]) -> int | None:
    if shard.rows is not None:
        return shard.rows
    for part in (*parts.values(), *remembered.values()):
        if part.record.last:
            return part.record.first_row + part.record.rows
    return None


def _gap(parts: Mapping[int, StoredPart], last: int | None) -> str:
    if not parts:
        return "none of its cells is there"
    absent = [str(cell) for cell in range(max(parts)) if cell not in parts]
    if last is None:
        absent.append(f"those after {max(parts)}")
    return f"incomplete, cells {', '.join(absent[:10])}{', …' if len(absent) > 10 else ''} are missing"


def _by_shard(parts: Iterable[StoredPart]) -> dict[str, dict[int, StoredPart]]:
    cells: dict[str, dict[int, StoredPart]] = defaultdict(dict)
    for part in parts:
        cells[part.record.shard][part.record.cell] = part
    return cells


def _current_of(manifest: Mapping[str, StoredPart], expected: Expected) -> dict[str, StoredPart]:
    """Without what the manifest remembers of earlier versions: that is gone rightly."""
    return {
        uri: part
        for uri, part in manifest.items()
        if expected.versions.get(part.record.shard) == part.record.version
        and part.record.definition == expected.definition
    }


def _count(found: Inspection) -> tuple[int, int]:
    """Rows of every readable part, and distinct images among them."""
    records = [part.record for part in (*found.current, *found.kept, *found.stale)]
    records += [foreign.record for foreign in found.foreign if foreign.record is not None]
    cells: dict[tuple[str, int], int] = {}
    for record in records:
        place = record.shard, record.cell
        cells[place] = max(cells.get(place, 0), record.rows)
    return sum(record.rows for record in records), sum(cells.values())
