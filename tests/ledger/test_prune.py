"""What left the input stays in the output until it is pruned; then nothing more is expected of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger.outputs import CELL_ROWS, Output, new_output, with_input
from vision_batch.datasets.shard import PRUNED
from vision_batch.datasets.table import format_named
from vision_batch.errors import SpecError
from vision_batch.ledger.change import change_patches
from vision_batch.ledger.members import load_members
from vision_batch.ledger.patch import commit_patch
from vision_batch.ledger.plan import Plan, make_plan
from vision_batch.ledger.replace import remove_parts
from vision_batch.ledger.state import look
from vision_batch.ledger.verify import verify


def pruned(output: Output) -> Plan:
    return make_plan(
        output.paths, output.input, format_named(output.format), cell_rows=CELL_ROWS, write=True, prune=True
    )


@pytest.fixture
def folder(tmp_path: Path) -> Output:
    """Six files in groups of four and two, all done."""
    output = new_output(tmp_path, images=6)
    output.run()
    return output


def remove(output: Output, *numbers: int) -> None:
    for number in numbers:
        Path(output.input.inputs[0].uri, f"{number:05d}.jpg").unlink()


def drop(output: Output, plan: Plan) -> None:
    """What a driver does with patches that compute nothing, and with parts of which nothing stays."""
    state = look(output.paths, plan, output.definition.digest)
    remove_parts(output.paths, state.stale)
    versions = {shard.key: shard.version for shard in plan.shards}
    for key, patch in change_patches(output.paths, plan.shards, state.replaced).items():
        assert not patch.rows
        commit_patch(output.paths, patch, None, version=versions[key], run="run-2")


def test_a_removed_file_is_counted_and_its_row_kept(folder: Output) -> None:
    remove(folder, 1)
    plan = folder.plan()
    assert (plan.removed, plan.removed_members, plan.pruned) == (1, {"files-000001": 1}, 0)
    assert "run with --prune" in plan.warnings[0]
    assert (folder.todo(), folder.look().images) == ([], 6)


def test_a_pruned_file_keeps_its_place_and_nothing_else(folder: Output) -> None:
    remove(folder, 1)
    plan = pruned(folder)
    assert (plan.removed, plan.pruned, plan.warnings) == (0, 1, ())
    group = load_members(folder.paths, plan.shards[0])
    assert (group.rows, len(group.files), group.pruned_rows) == (3, 4, {1})
    assert group.files[1].version == PRUNED
    assert pruned(folder).pruned == 0, "once"


def test_only_its_row_goes_and_the_numbers_of_the_others_stay(folder: Output) -> None:
    remove(folder, 1, 3)
    plan = pruned(folder)
    drop(folder, plan)
    current = look(folder.paths, plan, folder.definition.digest).current
    records = {part.record.shard: part.record for part in current}
    assert (records["files-000001"].rows, records["files-000001"].holes) == (2, 1), "row 3 has none after it"
    assert folder.todo() == []
    report = verify(folder.paths.output, deep=True)
    assert (report.ok, report.images, report.missing) == (True, 4, 0)


def test_with_the_last_row_the_part_goes(folder: Output) -> None:
    remove(folder, 4, 5)
    plan = pruned(folder)
    assert [shard.key for shard in plan.shards] == ["files-000001"]
    drop(folder, plan)
    assert not Path(folder.paths.part("files-000002", 0)).exists()
    assert folder.todo() == []
    report = verify(folder.paths.output, deep=True)
    assert (report.ok, report.images, report.missing) == (True, 4, 0)


def test_a_pruned_file_that_comes_back_is_new_work_at_its_old_place(folder: Output) -> None:
    remove(folder, 1, 4, 5)
    drop(folder, pruned(folder))
    for number in (1, 4):
        Path(folder.input.inputs[0].uri, f"{number:05d}.jpg").write_bytes(b"back")
    plan = folder.plan()
    assert (plan.new, plan.changed) == (2, 0)
    works = {work.shard.key: load_members(folder.paths, work.shard) for work in folder.todo()}
    assert {key: (shard.rows, shard.pruned_rows) for key, shard in works.items()} == {
        "files-000001": (4, set()),
        "files-000002": (1, {1}),
    }
    state = look(folder.paths, plan, folder.definition.digest)
    (patch,) = change_patches(folder.paths, plan.shards, state.replaced).values()
    assert (list(patch.rows), list(patch.dropped), patch.added, patch.kept) == ([1], [], 1, 3)


def test_a_file_that_changed_and_then_left_keeps_the_row_it_had(folder: Output) -> None:
    """The run that was to compute the change was cut short after it had planned it."""
    changed = Path(folder.input.inputs[0].uri, "00001.jpg")
    changed.write_bytes(b"another")
    assert folder.plan().changed == 1
    before = Path(folder.paths.part("files-000001", 0)).read_bytes()
    changed.unlink()
    plan = folder.plan()
    assert (plan.removed, plan.removed_members) == (1, {"files-000001": 1})
    assert (folder.todo(), folder.look().images) == ([], 6)
    assert Path(folder.paths.part("files-000001", 0)).read_bytes() == before
    assert folder.plan().added == 0, "once"
    changed.write_bytes(b"another")
    (work,) = folder.todo()
    assert work.shard.key == "files-000001", "when it comes back it is another one than the row is of"


def test_of_a_group_only_what_is_there_is_computed_when_more_had_changed(folder: Output) -> None:
    source = Path(folder.input.inputs[0].uri)
    for number in (0, 1, 2):
        (source / f"{number:05d}.jpg").write_bytes(b"another")
    folder.plan()
    remove(folder, 1)
    plan = folder.plan()
    state = look(folder.paths, plan, folder.definition.digest)
    (patch,) = change_patches(folder.paths, plan.shards, state.replaced).values()
    assert (list(patch.rows), list(patch.dropped), patch.kept) == ([0, 2], [], 2)
    (patch,) = change_patches(folder.paths, pruned(folder).shards, state.replaced).values()
    assert (list(patch.rows), list(patch.dropped), patch.kept) == ([0, 2], [1], 1)


def test_a_pruned_file_that_came_back_and_left_again_has_no_row(folder: Output) -> None:
    remove(folder, 1)
    drop(folder, pruned(folder))
    Path(folder.input.inputs[0].uri, "00001.jpg").write_bytes(b"back")
    assert folder.plan().new == 1
    remove(folder, 1)
    plan = folder.plan()
    assert (plan.removed, plan.removed_members, folder.todo(), folder.look().images) == (0, {}, [], 5)


def test_a_file_that_went_before_it_had_a_row_is_not_computed(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=6)
    output.plan()
    remove(output, 1, 4, 5)
    plan = output.plan()
    assert (plan.removed, plan.pruned, plan.warnings) == (0, 0, ())
    (work,) = output.todo()
    assert load_members(output.paths, work.shard).pruned_rows == {1}
    assert output.plan().added == 0, "once"


def test_the_row_of_a_removed_file_goes_with_a_part_that_is_lost(folder: Output) -> None:
    remove(folder, 1)
    assert folder.plan().removed == 1
    Path(folder.paths.part("files-000001", 0)).unlink()
    plan = folder.plan()
    assert (plan.removed, plan.pruned) == (0, 0)
    (work,) = folder.todo()
    group = load_members(folder.paths, work.shard)
    assert (group.key, group.rows, group.pruned_rows) == ("files-000001", 3, {1})


def test_a_new_group_never_takes_a_pruned_ones_number(folder: Output) -> None:
    remove(folder, 4, 5)
    pruned(folder)
    Path(folder.input.inputs[0].uri, "new.jpg").write_bytes(b"new")
    assert [shard.key for shard in folder.plan().shards] == ["files-000001", "files-000003"]


@pytest.fixture
def tars(tmp_path: Path) -> Output:
    """Two tars, all done."""
    output = replace(new_output(tmp_path, images=0), format="webdataset")
    for name in "ab":
        (tmp_path / "in" / f"{name}.tar").write_bytes(b"x" * 10)
    for work in output.todo():
        output.commit(work, rows=5)
    return output


def test_a_tar_is_pruned_whole_also_when_it_left_before(tars: Output) -> None:
    Path(tars.input.inputs[0].uri, "a.tar").unlink()
    assert tars.plan().gone == {"a.tar"}
    assert tars.look().kept_rows == 5
    plan = pruned(tars)
    assert (plan.gone, set(plan.superseded), plan.pruned, plan.removed) == (frozenset(), {"a.tar"}, 1, 0)
    drop(tars, plan)
    assert tars.look().kept_rows == 0
    report = verify(tars.paths.output, deep=True)
    assert (report.ok, report.images, report.warnings) == (True, 5, [])
    assert pruned(tars).pruned == 0


def test_a_pruned_tar_that_comes_back_is_new_work(tars: Output) -> None:
    path = Path(tars.input.inputs[0].uri, "a.tar")
    path.rename(path.with_suffix(".away"))
    drop(tars, pruned(tars))
    path.with_suffix(".away").rename(path)
    plan = tars.plan()
    assert (plan.new, plan.changed, dict(plan.superseded)) == (1, 0, {})
    assert [work.shard.key for work in tars.todo()] == ["a.tar"]


@pytest.mark.parametrize("format", ["folder", "webdataset"])
def test_an_input_that_lists_nothing_is_not_pruned(tmp_path: Path, format: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    suffix = "jpg" if format == "folder" else "tar"
    for folder in (first, second):
        folder.mkdir()
        for name in "ab":
            (folder / f"{name}.{suffix}").write_bytes(b"x" * 10)
    output = replace(with_input(new_output(tmp_path, images=0), [str(first), str(second)]), format=format)
    for work in output.todo():
        output.commit(work, rows=work.shard.rows or 3)
    (second / f"a.{suffix}").unlink()
    assert pruned(output).pruned == 1
    away = (second / f"b.{suffix}").rename(tmp_path / "away")
    with pytest.raises(SpecError, match=r"nothing in .*second, which had images before"):
        pruned(output)
    assert output.plan().removed == 1
    away.rename(second / f"b.{suffix}")
    assert (pruned(output).pruned, output.plan().removed) == (0, 0)
