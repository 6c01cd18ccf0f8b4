"""Audits an output from its parts' footers, the plan and the manifest, without looking at the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vision_batch.datasets.shard import Shard
from vision_batch.errors import LedgerError, NotFoundError, Problem, SpecError
from vision_batch.ledger.audit import audit_parts
from vision_batch.ledger.coverage import check_coverage
from vision_batch.ledger.definition import KIND, LIMIT, ClaimedOutput, read_definition
from vision_batch.ledger.findings import Findings
from vision_batch.ledger.inspect import Expected, Foreign, Inspection, inspect, list_folder
from vision_batch.ledger.manifest import StoredPart, read_manifest
from vision_batch.ledger.members import read_groups
from vision_batch.ledger.part import PartRecord
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.recorded import Recorded, read_recorded
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What an audit found; `ok` is the absence of problems.

    `rows` are those of every part, wherever it belongs; `images` are the distinct ones, by (shard, row); `duplicated`
    is the difference. `missing` counts planned images without a row: None when nobody knows yet how many there are.
    `complete` says that every planned shard is. `parts` counts the Parquet files, foreign ones too. `repaired` says
    what a repair has done before this was found.
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
    repaired: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A report, and what it is made of.

    `damaged` parts have a good record and other pages than were written; they are in `found` too. `keys` are those of
    every shard that was ever planned, `definition` is the digest of the output's own.
    """

    report: VerifyReport
    found: Inspection
    damaged: list[Foreign]
    keys: frozenset[str]
    definition: str | None


def verify(output: str, *, deep: bool = False) -> VerifyReport:
    """Reads every footer; with `deep` every page too, and compares checksums, digests and the rows' identities.

    SpecError when there is no output at all; storage errors pass through.
    """
    return audit_output(LedgerPaths(output), deep=deep).report


def audit_output(paths: LedgerPaths, *, deep: bool) -> Audit:
    """As `verify`, for those who need more than the report."""
    findings = Findings()
    # A run may be at work. What is read later may be newer: a part is there before the manifest knows it, and the plan
    # knows of a shard before it has a part.
    remembered = read_manifest(paths)
    listed = list_folder(paths.output)
    files = [info for info in listed if paths.is_table_file(info.uri)]
    claimed, recorded = _claimed(paths, findings), _recorded(paths, findings)
    if claimed is not None and (kind := claimed.definition.facts.get(KIND)) is not None:
        raise SpecError(Problem("output", f"{paths.output}, of a {kind} job: it has no rows", "of a predict job"))
    if not files and not findings.problems and claimed is None and not recorded.segments:
        raise SpecError(Problem("output", f"nothing at {paths.output} (no _ledger)", "the output.uri of a run"))
    shards = recorded.planned
    digest = claimed.definition.digest if claimed else None
    expected = Expected.of(shards, recorded.superseded, recorded.gone, digest)
    found = inspect(paths, files, {}, expected)
    if claimed is None and not (
        recorded.segments or found.parts or findings.problems or any(file.record for file in found.foreign)
    ):
        kinds = f"{len(files):,} Parquet files at {paths.output} that no run has written, and no _ledger"
        raise SpecError(Problem("output", kinds, "the output.uri of a predict job"))
    manifest = _current_of(remembered, expected)
    _check_ledger(claimed, recorded, findings)
    _check_files(found, claimed, findings)
    _check_manifest(found, manifest, findings)
    _check_others(paths, listed, findings)
    _check_members(paths, shards, listed, findings, deep=deep)
    coverage = check_coverage(shards, found.current, manifest.values(), _limit(claimed), findings)
    damaged = audit_parts(found.parts, findings) if deep else []
    rows, images = _count(found)
    report = VerifyReport(
        ok=not findings.problems,
        complete=coverage.complete,
        images=images,
        rows=rows,
        missing=coverage.missing,
        duplicated=rows - images,
        parts=len(files),
        problems=findings.problems,
        warnings=findings.warnings,
    )
    keys = frozenset((*recorded.shards, *recorded.superseded))
    return Audit(report=report, found=found, damaged=damaged, keys=keys, definition=digest)


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
        if LedgerPaths.stem_of(foreign.info.uri) is None:
            way_out = "move it out of the output"
        else:
            way_out = "`verify --repair` takes it out of the way; then run again"
        findings.problem("foreign files", f"{foreign.info.uri}: {foreign.reason}; {way_out}")
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
    foreign = {file.info.uri for file in found.foreign}
    for uri, remembered in manifest.items():
        part = stored.get(uri)
        if uri in foreign:
            findings.problem("lost parts", f"{uri}: the manifest knows it, and what is there now is not it")
        elif part is None:
            findings.problem("lost parts", f"{uri}: the manifest knows it, and it is not there as it was; run again")
        elif part.info == remembered.info and part.record != remembered.record:
            findings.warn("differences to the manifest", f"{uri}: the manifest remembers another record of this file")


def _check_others(paths: LedgerPaths, listed: Iterable[ObjectInfo], findings: Findings) -> None:
    """What is neither a part nor the ledger's, and what writers have left in the ledger."""
    temporary = 0
    for info in listed:
        if info.uri.startswith(f"{paths.scratch}/"):
            temporary += 1
        elif not paths.is_table_file(info.uri) and not info.uri.startswith(f"{paths.ledger}/"):
            findings.warn(
                "other files", f"{info.uri}: not of this output, and some readers take every file of a folder"
            )
    if temporary:
        findings.warn(
            "temporary files",
            f"{paths.scratch}: {temporary} temporary files, of a run at work or of one that was killed",
        )


def _check_members(
    paths: LedgerPaths, shards: Iterable[Shard], listed: Iterable[ObjectInfo], findings: Findings, *, deep: bool
) -> None:
    """Is it still recorded which files the groups have? `deep` reads the records.

    A run may plan meanwhile: what it has added is there, and what it has collected is not in the plan any more.
    """
    seen = {info.uri for info in listed}
    for uri in _members(paths, shards):
        if uri not in seen and not _is_there(uri) and uri in _members(paths, read_recorded(paths).planned):
            findings.problem("damage in the ledger", f"{uri}: missing, and it says which files the groups have")
    try:
        for _ in read_groups(paths, shards if deep else ()):
            pass
    except LedgerError as error:
        if error.uri in _members(paths, read_recorded(paths).planned):
            findings.problem("damage in the ledger", str(error))


def _members(paths: LedgerPaths, shards: Iterable[Shard]) -> frozenset[str]:
    return frozenset(paths.members(shard.group.stored_in) for shard in shards if shard.group is not None)


def _is_there(uri: str) -> bool:
    try:
        storage_for(uri).stat(uri)
    except NotFoundError:
        return False
    return True


def _current_of(manifest: Mapping[str, StoredPart], expected: Expected) -> dict[str, StoredPart]:
    """Without what the manifest remembers of earlier versions: that is gone rightly."""
    return {
        uri: part
        for uri, part in manifest.items()
        if expected.versions.get(part.record.shard) == part.record.version
        and part.record.definition == expected.definition
    }


def _limit(claimed: ClaimedOutput | None) -> int | None:
    limit = claimed.definition.facts.get(LIMIT) if claimed else None
    return limit if isinstance(limit, int) else None


def _count(found: Inspection) -> tuple[int, int]:
    """Rows of every readable part, and distinct images among them."""
    records = [part.record for part in found.parts]
    records += [foreign.record for foreign in found.foreign if foreign.record is not None]
    cells: dict[tuple[str, int], int] = {}
    for record in records:
        place = record.shard, record.cell
        cells[place] = max(cells.get(place, 0), record.rows)
    return sum(record.rows for record in records), sum(cells.values())
