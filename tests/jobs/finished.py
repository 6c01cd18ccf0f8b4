"""Outputs of predict jobs, filled without a model: what a spec says is planned and committed as a run would."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import pyarrow as pa

from tests.integration.job import Job
from tests.ledger.outputs import sealed
from vision_batch.jobs.forecast import plan_input
from vision_batch.jobs.prepare import prepare
from vision_batch.jobs.spec import load_spec
from vision_batch.ledger.definition import CELL_ROWS, claim_definition
from vision_batch.ledger.part import commit_part
from vision_batch.ledger.schema import output_schema
from vision_batch.ledger.state import look, todo
from vision_batch.tasks.table import task_for


def complete(
    job: Job,
    *overrides: str,
    failed: Collection[int] = (),
    shards: int | None = None,
    moment: datetime | None = None,
) -> None:
    """Commits a row for every image of the first `shards` shards to do (all of them): error rows at `failed`.

    `moment` is the scheduled time. Rows of all shards are to be known, as they are for folders and Parquet
    files, and to fit one cell.
    """
    prepared = prepare(load_spec(job.spec, overrides, scheduled_time=moment))
    claim_definition(prepared.paths, prepared.definition)
    plan = plan_input(prepared, cell_rows=CELL_ROWS, write=True)
    schema = output_schema(task_for(prepared.settings.task, prepared.model.labels).fields(), [])
    for work in todo(plan, look(prepared.paths, plan, prepared.definition.digest))[:shards]:
        assert work.shard.rows is not None
        table = _rows(schema, work.shard.key, work.shard.rows, failed)
        record = sealed(
            table, shard=work.shard.key, version=work.shard.version, definition=prepared.definition, cell_rows=CELL_ROWS
        )
        commit_part(prepared.paths, table, record)


def _rows(schema: pa.Schema, shard: str, rows: int, failed: Collection[int]) -> pa.Table:
    known = [
        {"image_id": f"{shard}/{row}", "shard": shard, "row": row, "error_code": "empty" if row in failed else None}
        for row in range(rows)
    ]
    return pa.Table.from_pylist(known, schema=schema)
