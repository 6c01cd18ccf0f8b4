"""Parts: whole or not at all, one winner, and a footer that vouches for everything."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.ledger.outputs import cell_table, sealed
from vision_batch.errors import PartConflictError, PartError
from vision_batch.ledger.part import PartRecord, commit_part, encode_part, read_part, read_part_record, seal
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.sealed_parquet import encode_parquet
from vision_batch.storage.table import storage_for

ROOT = Path(__file__).parents[2]


def stored_record(uri: str) -> PartRecord:
    storage = storage_for(uri)
    return read_part_record(storage, storage.stat(uri))


def test_a_record_counts_what_the_table_holds() -> None:
    record = sealed(cell_table("a.tar", 4, 3, errors=[1]), shard="a.tar", cell=1)
    assert (record.first_row, record.rows, record.images_ok, record.errors) == (4, 3, 2, {"empty": 1})


def test_a_committed_part_is_plain_parquet_and_its_footer_the_record(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    table = cell_table("a.tar", 0, 4, errors=[0])
    record = commit_part(paths, table, sealed(table, shard="a.tar"))
    assert pq.read_table(paths.part("a.tar", 0)).equals(table)
    assert stored_record(paths.part("a.tar", 0)) == record
    assert [path.name for path in tmp_path.glob("*.*")] == [paths.part_name("a.tar", 0)]


def test_a_part_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    table = cell_table("empty.tar", 0, 0)
    commit_part(paths, table, sealed(table, shard="empty.tar"))
    assert pq.read_schema(paths.part("empty.tar", 0)).names == table.schema.names


def test_a_footer_larger_than_the_first_read_is_read_whole(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    table = cell_table("wide.tar", 0, 1)
    for index in range(1500):
        table = table.append_column(f"input_{index:060d}", pa.array([index]))
    record = commit_part(paths, table, sealed(table, shard="wide.tar"))
    assert stored_record(paths.part("wide.tar", 0)) == record


def test_committing_again_is_success_and_gives_the_stored_record(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    table = cell_table("a.tar", 0, 4)
    first = commit_part(paths, table, sealed(table, shard="a.tar", run="run-1"))
    again = cell_table("a.tar", 0, 4, label="numerically a bit different")
    assert commit_part(paths, again, sealed(again, shard="a.tar", run="run-2")) == first
    assert pq.read_table(paths.part("a.tar", 0)).equals(table)


@pytest.mark.parametrize(("fact", "way_out"), [("version", "run again: what"), ("definition", "verify --repair")])
def test_another_version_or_definition_in_the_cells_place_is_a_conflict(
    tmp_path: Path, fact: str, way_out: str
) -> None:
    paths = LedgerPaths(str(tmp_path))
    table = cell_table("a.tar", 0, 4)
    record = sealed(table, shard="a.tar")
    commit_part(paths, table, record)
    other = seal(table, replace(record, **{fact: "another"}))
    with pytest.raises(PartConflictError, match=f"{fact} .* there, 'another' here.; .*{way_out}"):
        commit_part(paths, table, other)
    assert stored_record(paths.part("a.tar", 0)) == record


def test_an_unreadable_file_in_the_cells_place_is_named(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    Path(paths.part("a.tar", 0)).write_bytes(b"not Parquet")
    table = cell_table("a.tar", 0, 4)
    with pytest.raises(PartError, match="not a whole Parquet file"):
        commit_part(paths, table, sealed(table, shard="a.tar"))


def _commit(output: str, writer: int) -> PartRecord:
    table = cell_table("a.tar", 0, 4, label=f"writer {writer}")
    return commit_part(LedgerPaths(output), table, sealed(table, shard="a.tar", run=f"run-{writer}"))


def _one_winner(output: str, records: list[PartRecord]) -> None:
    part = LedgerPaths(output).part("a.tar", 0)
    assert {record.digest for record in records} == {stored_record(part).digest}
    record, table = read_part(part, storage_for(part).read(part))
    assert set(table.column("label").to_pylist()) == {f"writer {record.run.removeprefix('run-')}"}


def test_of_many_threads_one_wins_and_all_succeed(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        _one_winner(str(tmp_path), list(pool.map(lambda writer: _commit(str(tmp_path), writer), range(16))))


def test_of_several_processes_one_wins_and_all_succeed(tmp_path: Path) -> None:
    """Processes of their own: a multiprocessing.Pool waits for ever when its workers die before their first task."""
    with ThreadPoolExecutor(3) as pool:
        answers = pool.map(lambda writers: _commit_elsewhere(str(tmp_path), writers), [(0, 1), (2, 3), (4, 5)])
        _one_winner(str(tmp_path), [record for records in answers for record in records])


def _commit_elsewhere(output: str, writers: tuple[int, ...]) -> list[PartRecord]:
    """What another process says of its commits; CalledProcessError or TimeoutExpired when it does not."""
    code = "from tests.ledger.test_part import _commit"
    for writer in writers:
        code += f"\nprint(_commit({output!r}, {writer}).to_json())"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=100, check=True
    )
    records = [PartRecord.from_json(line) for line in answer.stdout.splitlines()]
    assert len(records) == len(writers)
    return records


@pytest.mark.s3
def test_on_s3_one_wins_and_all_succeed(moto_s3: S3Bucket) -> None:
    output = f"{moto_s3.uri}/labels"
    with ThreadPoolExecutor(8) as pool:
        _one_winner(output, list(pool.map(lambda writer: _commit(output, writer), range(8))))


def test_every_fact_of_a_record_is_under_the_digest() -> None:
    table = cell_table("a.tar", 0, 4)
    record = sealed(table, shard="a.tar")
    changed = {"cell": 1, "first_row": 4, "rows": 5, "images_ok": 3, "errors": {"empty": 1}, "last": False}
    changed |= {name: "other" for name in ("shard", "version", "definition", "run")}
    for name, value in changed.items():
        assert seal(table, replace(record, **{name: value})).digest != record.digest, name


def test_a_record_that_does_not_go_with_its_table_is_noticed_when_read_whole() -> None:
    table = cell_table("a.tar", 0, 4)
    record = sealed(table, shard="a.tar")
    assert read_part("part", encode_part(table, record)) == (record, table)
    for other in (replace(record, images_ok=3), replace(record, run="run-2")):
        with pytest.raises(PartError, match="digest differs"):
            read_part("part", encode_parquet(table, other.to_json()))
    with pytest.raises(PartError, match="digest differs"):
        read_part("part", encode_parquet(cell_table("a.tar", 0, 4, label="dog"), record.to_json()))


def test_foreign_parquet_and_records_of_another_format_are_no_parts(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(PartError, match="vision-batch did not write"):
        stored_record(str(foreign))
    for record in ("", "[]", "{}", '{"format": 2}', '{"format": 1, "shard": 3}'):
        foreign.write_bytes(encode_parquet(pa.table({"a": [1]}), record))
        with pytest.raises(PartError, match="record"):
            stored_record(str(foreign))


def test_a_record_of_another_number_of_rows_is_refused() -> None:
    table = cell_table("a.tar", 0, 4)
    record = sealed(table, shard="a.tar")
    with pytest.raises(ValueError, match="record_for"):
        encode_part(table.slice(1), record)
    with pytest.raises(PartError, match="holds 3 rows, its record says 4"):
        read_part("part", encode_parquet(table.slice(1), record.to_json()))
