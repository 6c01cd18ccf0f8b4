"""A repair mends what can be proven and says so, leaves the rest alone, and a run afterwards makes all well."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import S3Bucket
from tests.ledger import damage
from tests.ledger.damage import finish, part, tars
from tests.ledger.outputs import Output, new_output
from vision_batch.errors import HeldError, PartError, SpecError
from vision_batch.ledger import audit as audit_module
from vision_batch.ledger import repair as repair_module
from vision_batch.ledger.holder import Holder
from vision_batch.ledger.lease import LeaseRecord, held_lease
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.repair import repair
from vision_batch.ledger.replace import remove_part
from vision_batch.ledger.verify import Audit, VerifyReport, audit_output, verify
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return finish(tars(tmp_path))


def mended(output: Output) -> VerifyReport:
    return repair(output.paths.output)


def files(output: Output) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(output.paths.output).glob("*.parquet")}


def set_aside(output: Output) -> list[bytes]:
    return [path.read_bytes() for path in Path(output.paths.ledger, "damaged").glob("*")]


def test_what_is_well_is_left_as_it_is(output: Output) -> None:
    before = files(output)
    report = mended(output)
    assert (report.ok, report.repaired) == (True, [])
    assert files(output) == before
    assert not Path(output.paths.ledger, "damaged").exists()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage.duplicate, "copy.parquet: it doubles the rows of part-"),
        (damage.duplicate_as_another_cell, "it doubles the rows of part-"),
        (damage.leave_temporary_files, "removed 2 temporary files"),
    ],
)
def test_what_is_too_much_is_removed(output: Output, harm: Callable[[Output], None], said: str) -> None:
    before = files(output)
    harm(output)
    report = mended(output)
    assert (report.ok, report.warnings) == (True, [])
    assert said in report.repaired[0]
    assert files(output) == before
    assert set_aside(output) == []


@pytest.mark.parametrize(
    "harm",
    [
        damage.truncate,
        damage.empty,
        damage.append,
        damage.rewrite,
        damage.rewrite_without_a_row_group,
        damage.flip_in_a_page,
        damage.flip_in_the_footer,
        damage.replace_by_foreign,
        damage.exchange,
        damage.move_from_another_definition,
    ],
)
def test_what_holds_a_cells_place_wrongly_is_set_aside_and_computed_again(
    output: Output, harm: Callable[[Output], None]
) -> None:
    before = files(output)
    harm(output)
    harmed = [data for name, data in files(output).items() if before[name] != data]
    report = mended(output)
    assert not report.ok
    assert all("incomplete" in problem or "the manifest knows it" in problem for problem in report.problems)
    assert [line.startswith("set aside ") for line in report.repaired] == [True] * len(harmed)
    assert sorted(set_aside(output)) == sorted(harmed)
    finish(output)
    assert verify(output.paths.output, deep=True).ok
    assert files(output) == before
    assert mended(output).repaired == []


def test_a_repair_that_was_killed_is_finished_by_the_next(output: Output) -> None:
    """It died after it had put the copy into the ledger."""
    damage.truncate(output)
    data = part(output).read_bytes()
    mended(output)
    part(output).write_bytes(data)
    assert mended(output).repaired[0].startswith("set aside ")
    assert set_aside(output) == [data]
    assert not part(output).exists()


@pytest.mark.parametrize("harm", [damage.add_foreign, damage.add_what_is_no_parquet, damage.move_from_another_shard])
def test_what_is_not_ours_is_never_touched(output: Output, harm: Callable[[Output], None]) -> None:
    harm(output)
    before = files(output)
    report = mended(output)
    assert (report.ok, report.repaired, files(output)) == (False, [], before)


def test_a_renamed_part_stays_until_its_cell_is_there(output: Output) -> None:
    damage.rename(output)
    before = files(output)
    assert (mended(output).repaired, files(output)) == ([], before)
    finish(output)
    assert "doubles the rows" in mended(output).repaired[0]
    assert verify(output.paths.output, deep=True).ok


def test_a_copy_of_a_damaged_part_stays(output: Output) -> None:
    damage.duplicate(output)
    damage.truncate(output)
    assert [line.partition(" /")[0] for line in mended(output).repaired] == ["set aside"]
    assert "copy.parquet" in files(output)


def test_parts_of_a_replaced_version_are_removed(output: Output) -> None:
    damage.change_the_input(output)
    report = mended(output)
    assert ["of an earlier version of a.tar" in line for line in report.repaired] == [True] * 3
    assert report.problems == ["a.tar: none of its cells is there; run again to complete it"]
    finish(output)
    assert verify(output.paths.output, deep=True).ok


def test_parts_of_a_version_that_was_planned_again_stay(output: Output) -> None:
    """The input changed, and is again what it was."""
    tar = Path(output.input.inputs[0].uri, "a.tar")
    data, times = tar.read_bytes(), tar.stat()
    damage.change_the_input(output)
    tar.write_bytes(data)
    os.utime(tar, ns=(times.st_atime_ns, times.st_mtime_ns))
    output.plan()
    before = files(output)
    assert (mended(output).repaired, files(output)) == ([], before)
    assert verify(output.paths.output, deep=True).ok


@pytest.mark.parametrize("removals", [0, 1])
def test_a_repair_that_was_suspended_while_another_run_followed_removes_nothing_more(
    output: Output, monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    damage.change_the_input(output)
    damage.leave_temporary_files(output)
    before, done = files(output), []

    def suspended(paths: LedgerPaths, info: ObjectInfo) -> bool:
        done.append(info)
        removed = remove_part(paths, info)
        follow(paths)
        return removed

    def audited(paths: LedgerPaths, *, deep: bool) -> Audit:
        audit = audit_output(paths, deep=deep)
        if deep:
            follow(paths)
        return audit

    if removals:
        monkeypatch.setattr(repair_module, "remove_part", suspended)
    else:
        monkeypatch.setattr(repair_module, "audit_output", audited)
    with pytest.raises(HeldError, match=r"lost its lease, and run other .*gpu-7.* holds it now"):
        mended(output)
    assert len(done) == removals
    assert len(files(output)) == len(before) - removals
    assert len(list(Path(output.paths.scratch).iterdir())) >= 2


def follow(paths: LedgerPaths) -> None:
    """Another run takes the lease over."""
    holder = Holder(host="gpu-7", boot="b", pid_namespace="n", pid=4711, ticks=5)
    data = LeaseRecord(run_id="other", holder=holder, since="2026-01-02T03:04:05+00:00").encode()
    storage_for(paths.lease).put(paths.lease, data)


def test_parts_of_a_version_that_was_never_planned_stay(output: Output) -> None:
    damage.move_from_another_input(output)
    before = files(output)
    assert (mended(output).repaired, files(output)) == ([], before)


def test_parts_of_a_changed_group_stay_for_the_run_that_keeps_their_other_rows(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    output.run()
    (tmp_path / "in" / "00000.jpg").write_bytes(b"changed")
    output.plan()
    before = files(output)
    report = mended(output)
    assert (report.ok, report.repaired, files(output)) == (False, [], before)


@pytest.mark.parametrize("harm", [damage.forget_the_plan, damage.damage_the_plan])
def test_without_a_plan_nothing_is_proven(output: Output, harm: Callable[[Output], None]) -> None:
    damage.duplicate_as_another_cell(output)
    damage.truncate(output)
    harm(output)
    before = files(output)
    assert (mended(output).repaired, files(output)) == ([], before)


def test_a_bit_that_flips_on_the_way_harms_nothing(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def misread(uri: str, data: bytes) -> None:
        monkeypatch.undo()
        raise PartError(uri, "damaged on the way")

    before = files(output)
    monkeypatch.setattr(audit_module, "read_part", misread)
    assert mended(output).repaired == []
    assert files(output) == before


def test_a_repair_needs_the_output_for_itself(output: Output) -> None:
    damage.truncate(output)
    before = files(output)
    with held_lease(output.paths, "run-2"), pytest.raises(HeldError, match="run-2"):
        mended(output)
    assert files(output) == before
    assert mended(output).repaired
    assert not Path(output.paths.lease).exists()


def test_where_there_is_no_output_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="nothing at"):
        repair(str(tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.s3
def test_an_s3_output_is_repaired_alike(tmp_path: Path, moto_s3: S3Bucket) -> None:
    output = replace(new_output(tmp_path, images=0, uri=f"{moto_s3.uri}/labels"), format="webdataset")
    (tmp_path / "in" / "a.tar").write_bytes(b"x")
    finish(output)
    storage = storage_for(output.paths.output)
    uri = output.paths.part("a.tar", 1)
    storage.put(f"{output.paths.output}/copy.parquet", storage.read(output.paths.part("a.tar", 0)))
    storage.put(uri, storage.read(uri)[:-9])
    assert [line.partition(" s3:")[0] for line in mended(output).repaired] == ["removed", "set aside"]
    finish(output)
    assert verify(output.paths.output, deep=True).ok
