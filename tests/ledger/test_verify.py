"""The audit finds what is missing, doubled, damaged or foreign, and believes parts before the manifest."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.ledger.outputs import CELL_ROWS, Output, cell_table, new_output, sealed
from vision_batch.errors import SpecError
from vision_batch.ledger import verify as verify_module
from vision_batch.ledger.definition import Definition
from vision_batch.ledger.inspect import Inspection, inspect
from vision_batch.ledger.members import collect_members
from vision_batch.ledger.part import commit_part
from vision_batch.ledger.state import write_manifest
from vision_batch.ledger.verify import VerifyReport, verify


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """Ten images in three parts, with a manifest, as a finished run leaves it."""
    output = new_output(tmp_path)
    output.run()
    write_manifest(output.paths, output.look())
    return output


def audit(output: Output, *, deep: bool = False) -> VerifyReport:
    return verify(output.paths.output, deep=deep)


def part(output: Output, number: int, cell: int = 0) -> Path:
    return Path(output.paths.part(f"files-{number:06d}", cell))


@pytest.mark.parametrize("deep", [False, True])
def test_a_finished_output_is_right(output: Output, deep: bool) -> None:
    assert audit(output, deep=deep) == VerifyReport(
        ok=True, complete=True, images=10, rows=10, missing=0, duplicated=0, parts=3, problems=[], warnings=[]
    )


def test_the_manifest_is_not_needed(output: Output) -> None:
    Path(output.paths.manifest).unlink()
    assert audit(output).ok


@pytest.mark.parametrize("with_manifest", [False, True])
def test_a_deleted_part_is_missed(output: Output, with_manifest: bool) -> None:
    part(output, 2).unlink()
    if not with_manifest:
        Path(output.paths.manifest).unlink()
    report = audit(output)
    assert (report.ok, report.complete, report.images, report.missing) == (False, False, 6, 4)
    assert "files-000002: none of its cells is there; run again to complete it" in report.problems


def test_a_copy_under_another_name_doubles_its_rows(output: Output) -> None:
    shutil.copy(part(output, 1), part(output, 1).with_name("copy.parquet"))
    report = audit(output)
    assert (report.ok, report.rows, report.images, report.duplicated, report.missing) == (False, 14, 10, 4, 0)
    assert "copy.parquet: a copy of cell 0 of files-000001" in report.problems[0]


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_truncated_part_is_damaged_and_its_rows_missing(output: Output, kept: int) -> None:
    data = part(output, 1).read_bytes()
    part(output, 1).write_bytes(data[:kept])
    report = audit(output)
    assert (report.ok, report.missing, report.parts) == (False, 4, 3)
    assert "its end is missing" in report.problems[0]
    assert "verify --repair" in report.problems[0]
    assert not any(
        f"{part(output, 1)}: the manifest knows it" in line and "run again" in line for line in report.problems
    )


def test_a_flipped_bit_in_a_page_is_found_by_a_deep_audit_only(output: Output) -> None:
    data = bytearray(part(output, 1).read_bytes())
    data[60] ^= 1
    part(output, 1).write_bytes(data)
    assert audit(output).ok
    report = audit(output, deep=True)
    assert not report.ok
    assert f"{part(output, 1)}: its pages are damaged" in report.problems[0]


def test_a_foreign_parquet_file_is_a_problem(output: Output) -> None:
    pq.write_table(pa.table({"a": [1]}), part(output, 1).with_name("foreign.parquet"))
    report = audit(output)
    assert (report.ok, report.images, report.parts) == (False, 10, 4)
    assert "vision-batch did not write; move it out of the output" in report.problems[0]


def test_an_interrupted_run_is_incomplete(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.commit(output.todo()[0], rows=CELL_ROWS)
    report = audit(output)
    assert (report.ok, report.complete, report.images, report.missing, report.duplicated) == (False, False, 4, 6, 0)


def test_what_is_missing_is_unknown_before_the_last_cell_is_there(tmp_path: Path) -> None:
    output = replace(new_output(tmp_path, images=0), format="webdataset")
    (tmp_path / "in" / "a.tar").write_bytes(b"x")
    (work,) = output.todo()
    output.commit(work, rows=18, cells=[0, 2])
    report = audit(output)
    assert (report.complete, report.images, report.missing) == (False, 8, None)
    assert report.problems == ["a.tar: incomplete, cells 1, those after 2 are missing; run again to complete it"]
    output.commit(work, rows=18, cells=[4])
    assert audit(output).missing == 8


def test_stale_parts_are_a_problem_until_the_next_run(output: Output, tmp_path: Path) -> None:
    (tmp_path / "in" / "00000.jpg").write_bytes(b"changed")
    output.plan()
    report = audit(output)
    assert "of an earlier version of the input" in report.problems[0]
    assert (report.complete, report.missing) == (False, 4)


def test_parts_of_shards_that_left_the_input_are_only_mentioned(tmp_path: Path) -> None:
    output = replace(new_output(tmp_path, images=0), format="webdataset")
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.tar").write_bytes(b"x")
    for work in output.todo():
        output.commit(work, rows=6)
    (tmp_path / "in" / "a.tar").unlink()
    output.plan()
    report = audit(output)
    assert (report.ok, report.images, report.missing) == (True, 12, 0)
    assert "its shard a.tar is no longer in the input" in report.warnings[0]


def test_repeated_ids_are_a_warning(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=CELL_ROWS)
    (work,) = output.todo()
    table = cell_table(work.shard.key, 0, CELL_ROWS)
    table = table.set_column(0, "image_id", pa.array(["same", "same", "other", "same"]))
    commit_part(output.paths, table, sealed(table, shard=work.shard.key, version=work.shard.version))
    report = audit(output, deep=True)
    assert report.ok
    assert report.warnings[0].startswith("2 rows repeat the image_id of another row")


@pytest.mark.parametrize(("column", "values"), [("row", [0, 1, 3, 2]), ("shard", ["x"] * 4)])
def test_rows_that_are_not_the_cells_are_found_by_a_deep_audit(
    tmp_path: Path, column: str, values: list[object]
) -> None:
    output = new_output(tmp_path, images=CELL_ROWS)
    (work,) = output.todo()
    table = cell_table(work.shard.key, 0, CELL_ROWS)
    at = table.schema.get_field_index(column)
    table = table.set_column(at, table.schema.field(at), pa.array(values))
    commit_part(output.paths, table, sealed(table, shard=work.shard.key, version=work.shard.version))
    assert audit(output).ok
    assert f"its column `{column}` is not" in audit(output, deep=True).problems[0]


def test_more_or_fewer_rows_than_planned_are_found(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=CELL_ROWS)
    output.commit(output.todo()[0], rows=3)
    report = audit(output)
    assert (report.ok, report.problems) == (False, ["files-000001: 3 rows, planned were 4"])


def test_cells_after_the_last_are_found(tmp_path: Path) -> None:
    output = replace(new_output(tmp_path, images=0), format="webdataset")
    (tmp_path / "in" / "a.tar").write_bytes(b"x")
    (work,) = output.todo()
    output.commit(work, rows=4)
    output.commit(work, rows=8, cells=[1])
    assert "a.tar: cell 0 says it is the last, 1 exists" in audit(output).problems


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_lost_records_of_what_groups_are_made_of_are_a_problem(output: Output, harm: str) -> None:
    (members,) = Path(output.paths.plan).glob("*.members")
    data = bytearray(members.read_bytes())
    data[len(data) // 2] ^= 1
    members.unlink() if harm == "missing" else members.write_bytes(data)
    report = audit(output, deep=harm == "damaged")
    assert not report.ok
    assert str(members) in report.problems[0]


@pytest.mark.parametrize("deep", [False, True])
def test_what_a_run_collects_meanwhile_is_no_damage(
    output: Output, monkeypatch: pytest.MonkeyPatch, deep: bool
) -> None:
    def meanwhile(*arguments: Any) -> Inspection:
        monkeypatch.undo()
        for file in Path(output.input.inputs[0].uri).iterdir():
            file.write_bytes(b"changed")
        plan = output.plan()
        collect_members(output.paths, plan.segments, plan.members)
        return inspect(*arguments)

    before = set(Path(output.paths.plan).glob("*.members"))
    monkeypatch.setattr(verify_module, "inspect", meanwhile)
    assert audit(output, deep=deep).ok
    assert before.isdisjoint(Path(output.paths.plan).glob("*.members"))


def test_a_lost_ledger_is_a_problem_and_no_output_at_all_a_wrong_argument(output: Output, tmp_path: Path) -> None:
    shutil.rmtree(output.paths.ledger)
    problems = "\n".join(audit(output).problems)
    assert "the ledger has no definition" in problems
    assert "the ledger has no plan" in problems
    with pytest.raises(SpecError, match="nothing at"):
        verify(str(tmp_path / "elsewhere"))


def test_tables_that_no_run_has_written_are_no_output(tmp_path: Path) -> None:
    pq.write_table(pa.table({"metric": ["accuracy"], "value": [0.5]}), tmp_path / "metrics.parquet")
    with pytest.raises(SpecError, match=r"1 Parquet files at .* that no run has written"):
        verify(str(tmp_path))


def test_a_trial_is_expected_to_have_its_first_images_only(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=10, definition=Definition({"limit": 6}))
    output.commit(output.todo()[0], rows=4)
    report = audit(output)
    assert (report.ok, report.complete, report.images, report.missing) == (False, False, 4, 2)
    output.commit(output.todo()[0], rows=2)
    report = audit(output, deep=True)
    assert (report.ok, report.complete, report.images, report.missing) == (True, True, 6, 0)
    assert report.warnings == ["a trial of the first 6 images: the others of the plan are not looked for"]


def test_many_problems_of_a_kind_are_counted(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=30 * CELL_ROWS)
    output.plan()
    problems = audit(output).problems
    assert (len(problems), problems[-1]) == (11, "20 more: incomplete shards")


@pytest.mark.s3
def test_an_s3_output_is_audited_alike(tmp_path: Path, moto_s3: S3Bucket) -> None:
    output = new_output(tmp_path, uri=f"{moto_s3.uri}/labels")
    output.run()
    assert audit(output, deep=True).ok
