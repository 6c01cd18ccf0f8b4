"""Outputs made without a model: planned from files, filled with parts whose rows say where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.ledger.definition import Definition, claim_definition
from vision_batch.ledger.part import PartRecord, record_for
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import Plan, make_plan
from vision_batch.ledger.replace import Replacer
from vision_batch.ledger.schema import output_schema
from vision_batch.ledger.state import OutputState, Work, look, todo
from vision_batch.storage.object_info import ObjectInfo

SCHEMA = output_schema([pa.field("label", pa.string())], [])
DEFINITION = Definition({"model.source": "python:digits:build", "precision": "fp32"})
CELL_ROWS = 4


def cell_table(shard: str, first_row: int, rows: int, errors: Sequence[int] = (), label: str = "cat") -> pa.Table:
    """`rows` predictions; the rows at the positions `errors` are of empty images."""
    failed = [position in errors for position in range(rows)]
    columns = {
        "image_id": [f"{shard}/{row}" for row in range(first_row, first_row + rows)],
        "shard": [shard] * rows,
        "row": list(range(first_row, first_row + rows)),
        "width": [None if bad else 500 for bad in failed],
        "height": [None if bad else 375 for bad in failed],
        "error_code": ["empty" if bad else None for bad in failed],
        "error": ["0 bytes" if bad else None for bad in failed],
        "label": [None if bad else label for bad in failed],
    }
    return pa.table(columns, schema=SCHEMA)


def sealed(
    table: pa.Table,
    *,
    shard: str,
    cell: int = 0,
    last: bool = True,
    version: str = "v1",
    definition: Definition = DEFINITION,
    run: str = "run-1",
    cell_rows: int = CELL_ROWS,
) -> PartRecord:
    return record_for(
        table,
        shard=shard,
        version=version,
        cell=cell,
        cell_rows=cell_rows,
        last=last,
        definition=definition.digest,
        run=run,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output and its input folder, worked on as a run would."""

    paths: LedgerPaths
    input: InputSettings
    format: str = "folder"
    definition: Definition = DEFINITION

    def plan(self, *, write: bool = True) -> Plan:
        return make_plan(self.paths, self.input, format_named(self.format), cell_rows=CELL_ROWS, write=write)

    def look(self) -> OutputState:
        return look(self.paths, self.plan(), self.definition.digest)

    def todo(self) -> list[Work]:
        plan = self.plan()
        return todo(plan, look(self.paths, plan, self.definition.digest))

    def commit(self, work: Work, rows: int, cells: Sequence[int] | None = None, old: Sequence[ObjectInfo] = ()) -> None:
        """Commits the wanted cells of a shard of `rows` rows, or only `cells`, in place of the parts `old`."""
        last = max(0, -(-rows // CELL_ROWS) - 1)
        for cell in range(last + 1) if cells is None else cells:
            if cell not in work.done_cells:
                first = cell * CELL_ROWS
                table = cell_table(work.shard.key, first, min(CELL_ROWS, rows - first))
                record = sealed(
                    table,
                    shard=work.shard.key,
                    cell=cell,
                    last=cell == last,
                    version=work.shard.version,
                    definition=self.definition,
                )
                Replacer(self.paths).commit(table, record, old)

    def run(self) -> None:
        """Completes every shard whose rows are known."""
        for work in self.todo():
            assert work.shard.rows is not None
            self.commit(work, work.shard.rows)


def new_output(
    folder: Path, images: int = 10, *, uri: str | None = None, definition: Definition = DEFINITION
) -> Output:
    """A claimed output at `uri` (`folder`/out) over `images` files in `folder`/in."""
    source = folder / "in"
    source.mkdir(parents=True, exist_ok=True)
    for index in range(images):
        (source / f"{index:05d}.jpg").write_bytes(b"x" * (index + 1))
    output = Output(
        paths=LedgerPaths(uri or str(folder / "out")), input=InputSettings(uri=str(source)), definition=definition
    )
    claim_definition(output.paths, definition, cell_rows=CELL_ROWS)
    return output


def with_input(output: Output, uri: str | list[str]) -> Output:
    return replace(output, input=InputSettings(uri=uri))
