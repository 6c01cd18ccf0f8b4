"""Any Parquet reader sees the same whole rows in OUTPUT/*.parquet, also of a run that was killed half-way."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.job import MODEL, Job, digits, write_tar
from vision_batch.cluster.connect import connected

pytestmark = pytest.mark.ray

Row = tuple[str, int, str, str | None, str | None]
COLUMNS = ["shard", "row", "image_id", "label", "error_code"]


@pytest.fixture(scope="module")
def half_done(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that was killed half-way: some parts with errors in them, and a file that it was writing."""
    slow = MODEL.replace("return self.layers", "import time; time.sleep(0.3)\n        return self.layers")
    job = Job(tmp_path_factory.mktemp("half-done"), {"code": slow})
    for number in range(12):
        write_tar(job.data / f"{number:02d}.tar", [*digits(18), b"", b"this is no picture"])
    command = [sys.executable, "-m", "vision_batch", "run", str(job.spec), "--address", ray_address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        while len(list(job.output.glob("*.parquet"))) < 4:
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        run.kill()
    time.sleep(4)  # actors were seen to write up to 2.8 s after their driver's death
    some_part = next(job.output.glob("*.parquet")).read_bytes()
    scratch = job.output / "_ledger" / "tmp"
    scratch.mkdir(exist_ok=True)
    (scratch / ".of-a-killed-writer.tmp").write_bytes(some_part[: len(some_part) // 2])
    return job.output


def rows(table: pa.Table) -> list[Row]:
    return sorted(tuple(row[name] for name in COLUMNS) for row in table.select(COLUMNS).to_pylist())  # type: ignore[misc]


def by_pyarrow(output: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(part) for part in sorted(output.glob("*.parquet"))])


def by_duckdb(output: Path) -> pa.Table:
    duckdb = wanted("duckdb")
    return duckdb.sql(f"SELECT * FROM '{output}/*.parquet'").arrow().read_all()


def by_polars(output: Path) -> pa.Table:
    return wanted("polars").read_parquet(f"{output}/*.parquet").to_arrow()


def by_pandas(output: Path) -> pa.Table:
    pandas = wanted("pandas")
    frames = [pandas.read_parquet(part) for part in sorted(output.glob("*.parquet"))]
    return pa.Table.from_pandas(pandas.concat(frames), preserve_index=False)


def by_hugging_face(output: Path) -> pa.Table:
    datasets = wanted("datasets")
    cache = output.parent / "hugging-face"
    files = f"{output}/*.parquet"
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache)).data.table


def by_ray(output: Path, address: str) -> pa.Table:
    import ray

    with connected(address):
        parts = [str(part) for part in output.glob("*.parquet")]
        return pa.concat_tables(ray.get(ray.data.read_parquet(parts).to_arrow_refs()))


def wanted(module: str) -> Any:
    """A reader that has to be there where CI runs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{module} is not installed: {error}")


def test_the_table_holds_whole_rows_without_duplicates(half_done: Path) -> None:
    seen = rows(by_pyarrow(half_done))
    assert 0 < len(seen) < 12 * 20
    assert len(seen) == 20 * len(list(half_done.glob("*.parquet")))
    assert len({(shard, row) for shard, row, *_ in seen}) == len(seen)
    assert {code for *_, code in seen} == {None, "empty", "unreadable"}


@pytest.mark.parametrize("read", [by_duckdb, by_polars, by_pandas, by_hugging_face])
def test_readers_agree(half_done: Path, read: Callable[[Path], pa.Table]) -> None:
    assert rows(read(half_done)) == rows(by_pyarrow(half_done))


def test_ray_agrees(half_done: Path, ray_address: str) -> None:
    assert rows(by_ray(half_done, ray_address)) == rows(by_pyarrow(half_done))
