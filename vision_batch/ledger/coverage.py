"""Which planned images have a row, judged from the parts that there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vision_batch.datasets.shard import Shard
from vision_batch.ledger.findings import Findings
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.state import is_complete, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """`missing` is None when nobody knows yet how many images there are."""

    complete: bool
    missing: int | None


def check_coverage(
    shards: Sequence[Shard],
    current: Iterable[StoredPart],
    remembered: Iterable[StoredPart],
    limit: int | None,
    findings: Findings,
) -> Coverage:
    """Reports gaps of the plan's `shards`; with `limit` (a trial run) only that many images are expected.

    `current` are the parts of the planned versions; `remembered`, the manifest's, help to count what is lost.
    """
    cells, lost = _by_shard(current), _by_shard(remembered)
    totals = {shard.key: _total(shard, cells[shard.key], lost[shard.key]) for shard in shards}
    for shard in shards:
        _check_order(shard, cells[shard.key], findings)
    if limit is not None:
        return _check_trial(shards, cells, totals, limit, findings)
    incomplete = [shard for shard in shards if not is_complete(cells[shard.key])]
    missing: int | None = 0
    for shard in incomplete:
        findings.problem("incomplete shards", f"{shard.key}: {_gap(cells[shard.key])}; run again to complete it")
        total = totals[shard.key]
        missing = None if missing is None or total is None else missing + total - _rows(cells[shard.key])
    for shard in shards:
        total, present = totals[shard.key], _rows(cells[shard.key])
        if is_complete(cells[shard.key]) and total != present:
            findings.problem("wrong row counts", f"{shard.key}: {present} rows, planned were {total}")
    return Coverage(complete=not incomplete, missing=missing)


def _check_trial(
    shards: Sequence[Shard],
    cells: Mapping[str, Mapping[int, StoredPart]],
    totals: Mapping[str, int | None],
    limit: int,
    findings: Findings,
) -> Coverage:
    """A trial takes the first `limit` images and says of the shard where it stops that it ends there."""
    findings.warn("trials", f"a trial of the first {limit} images: the others of the plan are not looked for")
    present = sum(_rows(cells[shard.key]) for shard in shards)
    known = [total for total in totals.values() if total is not None]
    planned = sum(known) if len(known) == len(totals) else None
    expected = limit if planned is None else min(limit, planned)
    if present >= expected:
        return Coverage(complete=True, missing=0)
    findings.problem("incomplete trials", f"{present} of the first {expected} images have a row; run again")
    return Coverage(complete=False, missing=None if planned is None else expected - present)


def _check_order(shard: Shard, parts: Mapping[int, StoredPart], findings: Findings) -> None:
    last = _last(parts)
    if last is not None and last < max(parts):
        findings.problem("cells after the last", f"{shard.key}: cell {last} says it is the last, {max(parts)} exists")


def _total(shard: Shard, parts: Mapping[int, StoredPart], lost: Mapping[int, StoredPart]) -> int | None:
    if shard.rows is not None:
        return shard.rows
    return rows_of(parts) if rows_of(parts) is not None else rows_of(lost)


def _gap(parts: Mapping[int, StoredPart]) -> str:
    if not parts:
        return "none of its cells is there"
    absent = [str(cell) for cell in range(max(parts)) if cell not in parts]
    if _last(parts) is None:
        absent.append(f"those after {max(parts)}")
    return f"incomplete, cells {', '.join(absent[:10])}{', …' if len(absent) > 10 else ''} are missing"


def _last(parts: Mapping[int, StoredPart]) -> int | None:
    return min((cell for cell, part in parts.items() if part.record.last), default=None)


def _rows(parts: Mapping[int, StoredPart]) -> int:
    return sum(part.record.rows for part in parts.values())


def _by_shard(parts: Iterable[StoredPart]) -> defaultdict[str, dict[int, StoredPart]]:
    cells: defaultdict[str, dict[int, StoredPart]] = defaultdict(dict)
    for part in parts:
        cells[part.record.shard][part.record.cell] = part
    return cells
