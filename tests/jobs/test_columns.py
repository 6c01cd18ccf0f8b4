"""The types of `truth` and `input_<name>`, gathered from whatever file knows them."""

from pathlib import Path

import pyarrow as pa

from tests.integration.job import Job, digits, write_parquet
from vision_batch.jobs.columns import extra_fields
from vision_batch.jobs.forecast import plan_input
from vision_batch.jobs.prepare import prepare
from vision_batch.jobs.spec import load_spec


def types_of(job: Job) -> dict[str, pa.DataType]:
    prepared = prepare(load_spec(job.spec))
    plan = plan_input(prepared, cell_rows=100)
    return {field.name: field.type for field in extra_fields(prepared, [], plan.shards)}


def test_each_column_has_the_type_of_the_first_file_that_knows_it(tmp_path: Path) -> None:
    job = Job(tmp_path, {"input": {"uri": "data/", "label_column": "digit", "keep_columns": ["x"]}})
    write_parquet(job.data / "a.parquet", digits(2), digit=[None, None], x=[1, 2])
    assert types_of(job) == {"truth": pa.null(), "input_x": pa.int64()}
    write_parquet(job.data / "b.parquet", digits(2), digit=["one", None], x=[None, None])
    assert types_of(job) == {"truth": pa.string(), "input_x": pa.int64()}


def test_a_damaged_file_leaves_it_to_the_others(tmp_path: Path) -> None:
    job = Job(tmp_path, {"input": {"uri": "data/", "label_column": "digit"}})
    write_parquet(job.data / "b.parquet", digits(2), digit=[1, 2])
    (job.data / "a.parquet").write_bytes(b"PAR1 this is none PAR1")
    assert types_of(job) == {"truth": pa.int64()}


def test_nothing_asked_for_opens_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path, {"input": {"uri": "data/"}})
    write_parquet(job.data / "a.parquet", digits(2))
    assert types_of(job) == {}
