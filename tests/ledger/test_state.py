"""What is done is what the output holds: parts are believed, the manifest only saves time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.ledger.outputs import CELL_ROWS, DEFINITION, Output, cell_table, new_output, sealed
from vision_batch.ledger import inspect as inspection
from vision_batch.ledger.part import commit_part, seal
from vision_batch.ledger.state import look, write_manifest


def tars(tmp_path: Path, sizes: dict[str, int]) -> Output:
    """An output over tars of so many bytes, whose rows nobody knows."""
    output = replace(new_output(tmp_path, images=0), format="webdataset")
    for name, size in sizes.items():
        (tmp_path / "in" / f"{name}.tar").write_bytes(b"x" * size)
    return output


def test_nothing_is_done_before_the_first_part(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    state = output.look()
    assert (state.images, state.images_total, state.images_estimate) == (0, 10, 10)
    assert [work.shard.key for work in output.todo()] == ["files-000001", "files-000002", "files-000003"]


def test_committed_cells_are_subtracted(tmp_path: Path) -> None:
    output = tars(tmp_path, {"a": 10, "b": 10})
    first, _ = output.todo()
    output.commit(first, rows=10, cells=[0, 2])
    work, other = output.todo()
    assert (work.done_cells, other.done_cells) == ({0, 2}, frozenset())
    output.commit(work, rows=10)
    assert [work.shard.key for work in output.todo()] == ["b.tar"]
    assert output.look().complete == {"a.tar"}


def test_a_shard_is_not_complete_before_its_last_cell_is_there(tmp_path: Path) -> None:
    output = tars(tmp_path, {"a": 10})
    output.commit(output.todo()[0], rows=10, cells=[0, 1])
    assert output.look().complete == frozenset()


def test_rows_are_counted_by_code(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=4)
    (work,) = output.todo()
    table = cell_table(work.shard.key, 0, 4, errors=[1, 2])
    commit_part(output.paths, table, sealed(table, shard=work.shard.key, version=work.shard.version))
    state = output.look()
    assert (state.images_ok, state.images_failed, state.errors) == (2, 2, {"empty": 2})


def test_the_total_is_known_once_every_last_cell_is_there(tmp_path: Path) -> None:
    output = tars(tmp_path, {"a": 1000, "b": 3000})
    assert output.look().images_total is None
    first, second = output.todo()
    output.commit(first, rows=10)
    state = output.look()
    assert (state.images_total, state.images_estimate) == (None, 40)
    output.commit(second, rows=7, cells=[1])
    assert output.look().images_total == 17


def test_a_shard_without_rows_is_complete_with_one_empty_part(tmp_path: Path) -> None:
    output = tars(tmp_path, {"empty": 1000})
    output.commit(output.todo()[0], rows=0)
    state = output.look()
    assert (state.complete, state.images_total, output.todo()) == ({"empty.tar"}, 0, [])


def test_parts_of_an_earlier_version_are_stale_and_not_done(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.run()
    (tmp_path / "in" / "00000.jpg").write_bytes(b"changed")
    state = output.look()
    assert [part.info.uri for part in state.replaced["files-000001"]] == [output.paths.part("files-000001", 0)]
    assert state.stale == ()
    assert [work.shard.key for work in output.todo()] == ["files-000001"]
    assert state.images == 6


def test_parts_of_shards_that_left_the_input_are_kept(tmp_path: Path) -> None:
    output = tars(tmp_path, {"a": 10, "b": 10})
    for work in output.todo():
        output.commit(work, rows=5)
    (tmp_path / "in" / "a.tar").unlink()
    state = output.look()
    assert (len(state.kept), state.kept_rows, state.images, state.stale) == (2, 5, 5, ())


def test_what_is_not_ours_is_reported_and_counts_for_nothing(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=CELL_ROWS)
    output.run()
    out = Path(output.paths.output)
    part = Path(output.paths.part("files-000001", 0))
    pq.write_table(pa.table({"a": [1]}), out / "other.parquet")
    (out / "cut.parquet").write_bytes(part.read_bytes()[:-20])
    (out / "empty.parquet").write_bytes(b"")
    shutil.copy(part, out / "copy.parquet")
    table = cell_table("unknown", 0, 4)
    commit_part(output.paths, table, sealed(table, shard="unknown"))
    before = sorted(out.iterdir())
    state = output.look()
    reasons = {Path(foreign.info.uri).name: foreign.reason for foreign in state.foreign}
    assert reasons == {
        "other.parquet": "a Parquet file that vision-batch did not write",
        "cut.parquet": "not a whole Parquet file: its end is missing",
        "empty.parquet": "not a whole Parquet file: its end is missing",
        "copy.parquet": f"a copy of cell 0 of files-000001, whose part is {part.name}",
        output.paths.part_name("unknown", 0): "of a shard that the plan does not know: unknown",
    }
    assert (state.images, output.todo(), sorted(out.iterdir())) == (4, [], before)


def test_a_part_of_another_definition_is_foreign(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=CELL_ROWS)
    (work,) = output.todo()
    table = cell_table(work.shard.key, 0, 4)
    record = sealed(table, shard=work.shard.key, version=work.shard.version)
    commit_part(output.paths, table, seal(table, replace(record, definition="another")))
    state = output.look()
    assert [foreign.reason for foreign in state.foreign] == ["predicted under another definition"]
    assert (state.done, state.stale) == ({}, ())


def test_the_manifest_saves_reading_footers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = new_output(tmp_path)
    output.run()
    state = output.look()
    write_manifest(output.paths, state)
    monkeypatch.setattr(inspection, "read_part_record", _no_reading)
    assert output.look() == state
    assert look(output.paths, output.plan(), DEFINITION.digest, known=state.parts) == state


def _no_reading(*arguments: object) -> None:
    raise AssertionError("a footer was read")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped"])
def test_a_lost_or_damaged_manifest_changes_nothing(tmp_path: Path, damage: str) -> None:
    output = new_output(tmp_path)
    output.run()
    state = output.look()
    write_manifest(output.paths, state)
    manifest = Path(output.paths.manifest)
    data = manifest.read_bytes()
    damaged = {"empty": b"", "cut": data[:-3], "flipped": data[:99] + bytes([data[99] ^ 1]) + data[100:]}
    manifest.unlink() if damage == "missing" else manifest.write_bytes(damaged[damage])
    assert output.look() == state


def test_the_manifest_is_not_believed_about_parts_that_are_gone_or_replaced(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.run()
    write_manifest(output.paths, output.look())
    Path(output.paths.part("files-000001", 0)).unlink()
    replaced = Path(output.paths.part("files-000002", 0))
    replaced.write_bytes(replaced.read_bytes()[:-1])
    assert [work.shard.key for work in output.todo()] == ["files-000001", "files-000002"]


@pytest.mark.s3
def test_an_s3_output_is_looked_at_alike(tmp_path: Path, moto_s3: S3Bucket) -> None:
    output = new_output(tmp_path, uri=f"{moto_s3.uri}/labels")
    output.run()
    state = output.look()
    assert (state.images, output.todo()) == (10, [])
    write_manifest(output.paths, state)
    assert output.look() == state
