"""What the ledger and the metrics beside an output tell of its runs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.errors import NotFoundError, Problem, SpecError, StorageError
from vision_batch.ledger.definition import KIND, ClaimedOutput, read_definition
from vision_batch.ledger.inspect import list_folder
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.run_record import RunRecord, newest_runs
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, relative_to

MOST_RUNS: Final = 50
"""So many of the newest runs are looked at."""
_TABLE: Final = re.compile(r"(?P<folder>fold-\d+/)?(?P<name>[a-z]+)(-\d+)?\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An output's definition, its newest runs, the newest first, and of one of them its tables of metrics by name.

    `run` is the one that was asked for, or the newest that computed something; None where there is none.
    """

    paths: LedgerPaths
    claimed: ClaimedOutput
    runs: tuple[RunRecord, ...]
    run: RunRecord | None
    metrics: Mapping[str, pa.Table] = field(default_factory=dict)

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.claimed.definition.facts

    @property
    def is_training(self) -> bool:
        return self.facts.get(KIND) == "train"

    @property
    def name(self) -> str | None:
        """What the spec calls the job."""
        name = None if self.run is None else self.run.spec.get("name")
        return None if name is None else str(name)


def read_record(paths: LedgerPaths, run_id: str | None = None) -> Record | None:
    """Of an output; None where nothing has claimed it. SpecError for a run that it has not had."""
    claimed = read_definition(paths)
    if claimed is None:
        return None
    runs = tuple(itertools.islice(newest_runs(paths), MOST_RUNS))
    if run_id is not None:
        chosen = [run for run in runs if run.run_id == run_id]
        if not chosen:
            known = ", ".join(run.run_id for run in runs[:5]) or "none"
            raise SpecError(Problem("--run", repr(run_id), f"a run of {paths.output}; its newest are {known}"))
        return Record(paths=paths, claimed=claimed, runs=runs, run=chosen[0], metrics=_metrics(paths, run_id))
    for run in runs:
        if metrics := _metrics(paths, run.run_id):
            return Record(paths=paths, claimed=claimed, runs=runs, run=run, metrics=metrics)
    return Record(paths=paths, claimed=claimed, runs=runs, run=runs[0] if runs else None)


def training_tables(paths: LedgerPaths, name: str) -> dict[str, pa.Table]:
    """What all runs of a training have written of one kind of table, by fold; the key is empty where it has none."""
    everything = f"{paths.output.rstrip('/')}-metrics"
    found: dict[str, list[str]] = {}
    for info in list_folder(everything):
        _, _, within = relative_to(info.uri, everything).partition("/")
        match = _TABLE.fullmatch(within)
        if match is not None and match["name"] == name:
            found.setdefault((match["folder"] or "").rstrip("/"), []).append(info.uri)
    tables = {fold: _tables(uris) for fold, uris in sorted(found.items())}
    return {fold: pa.concat_tables(whole, promote_options="default") for fold, whole in tables.items() if whole}


def _metrics(paths: LedgerPaths, run_id: str) -> dict[str, pa.Table]:
    """The tables of a run by name; those that lie there in several files as one."""
    folder = paths.metrics(run_id)
    found: dict[str, list[str]] = {}
    for info in list_folder(folder):
        match = _TABLE.fullmatch(relative_to(info.uri, folder))
        if match is not None and match["folder"] is None:
            found.setdefault(match["name"], []).append(join(folder, relative_to(info.uri, folder)))
    tables = {name: _tables(uris) for name, uris in found.items()}
    return {name: pa.concat_tables(whole, promote_options="default") for name, whole in tables.items() if whole}


def _tables(uris: list[str]) -> list[pa.Table]:
    """Those that are there and whole: metrics are for people, and nothing depends on them."""
    tables: list[pa.Table] = []
    for data in storage_for(uris[0]).read_many([ReadRequest(uri=uri) for uri in uris]):
        if isinstance(data, NotFoundError):
            continue
        if isinstance(data, StorageError):
            raise data
        try:
            tables.append(pq.read_table(pa.BufferReader(data), use_threads=False))
        except pa.ArrowInvalid:
            continue
    return tables
