"""Whatever happens to the files of an output, an audit says so; where all is well, it says nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ledger import damage
from tests.ledger.damage import ROWS, finish, flipped, footer_start, part, tars
from tests.ledger.outputs import CELL_ROWS, Output, cell_table, sealed
from vision_batch.errors import PartError
from vision_batch.ledger import verify as verify_module
from vision_batch.ledger.definition import Definition
from vision_batch.ledger.part import commit_part, read_part
from vision_batch.ledger.verify import VerifyReport, verify


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return finish(tars(tmp_path))


def audit(output: Output, *, deep: bool = True) -> VerifyReport:
    return verify(output.paths.output, deep=deep)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage.delete, "a.tar: incomplete, cells 0 are missing"),
        (damage.delete_last, "a.tar: incomplete, cells those after 1 are missing"),
        (damage.delete_and_forget, "a.tar: incomplete, cells 0 are missing"),
        (damage.duplicate, "copy.parquet: a copy of cell 0 of a.tar"),
        (damage.duplicate_as_another_cell, "a copy of cell 0 of a.tar"),
        (damage.rename, "renamed.parquet: a copy of cell 0 of a.tar"),
        (damage.exchange, "a copy of cell 0 of b.tar"),
        (damage.truncate, "its end is missing"),
        (damage.empty, "its end is missing"),
        (damage.append, "its end is missing"),
        (damage.rewrite, "its footer is damaged"),
        (damage.rewrite_without_a_row_group, "its footer is damaged"),
        (damage.add_foreign, "foreign.parquet: a Parquet file that vision-batch did not write"),
        (damage.add_what_is_no_parquet, "notes.parquet: not a whole Parquet file"),
        (damage.change_the_input, "of an earlier version of the input"),
        (damage.move_from_another_definition, "predicted under another definition"),
        (damage.move_from_another_input, "of an earlier version of the input"),
        (damage.move_from_another_shard, "of a shard that the plan does not know: c.tar"),
        (damage.commit_past_the_last, "a.tar: cell 2 says it is the last, 3 exists"),
        (damage.forget_the_plan, "the ledger has no plan"),
        (damage.damage_the_plan, "a segment of the plan cannot be read"),
        (damage.forget_the_definition, "the ledger has no definition"),
        (damage.damage_the_definition, "the output's definition cannot be read"),
    ],
)
def test_it_is_found_without_reading_pages(output: Output, harm: Callable[[Output], None], said: str) -> None:
    assert audit(output).ok
    harm(output)
    report = audit(output, deep=False)
    assert not report.ok
    assert said in "\n".join(report.problems)
    assert set(report.problems) <= set(audit(output, deep=True).problems)


def test_every_flipped_bit_of_a_part_is_found(output: Output) -> None:
    """All bits of all bytes; the whole audit looks at one in a hundred, those of the footer without reading pages."""
    whole = part(output).read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            with pytest.raises(PartError):
                read_part("part", flipped(whole, at, bit))
                pytest.fail(f"bit {bit} of byte {at}")
    for at in (0, *range(5, len(whole), 13), len(whole) - 1):
        part(output).write_bytes(flipped(whole, at, at % 8))
        report = audit(output, deep=at < footer_start(whole))
        assert not report.ok, f"byte {at}"
        assert str(part(output)) in report.problems[0]
    part(output).write_bytes(whole)
    assert audit(output).ok


@pytest.mark.parametrize("deep", [False, True])
def test_a_good_output_gives_no_alarm(tmp_path: Path, deep: bool) -> None:
    output = tars(tmp_path)
    first, _ = output.todo()
    output.commit(first, rows=ROWS, cells=[0])
    in_the_middle = audit(output, deep=deep)
    assert in_the_middle.problems == [
        "a.tar: incomplete, cells those after 0 are missing; run again to complete it",
        "b.tar: none of its cells is there; run again to complete it",
    ]
    assert in_the_middle.warnings == []
    for _ in range(2):
        resumed = audit(finish(output), deep=deep)
        assert (resumed.ok, resumed.warnings, resumed.images) == (True, [], 2 * ROWS)


def test_a_trial_gives_no_alarm(tmp_path: Path) -> None:
    output = tars(tmp_path, Definition({"limit": CELL_ROWS}))
    table = cell_table("a.tar", 0, CELL_ROWS)
    version = output.todo()[0].shard.version
    record = sealed(table, shard="a.tar", version=version, definition=output.definition)
    commit_part(output.paths, table, record)
    assert audit(output).problems == []


@pytest.mark.parametrize("moment", ["list_folder", "read_definition", "inspect"])
def test_what_a_run_commits_during_the_audit_is_no_alarm(
    output: Output, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """At any moment a new shard may be planned, committed and remembered, and a listed part be replaced."""
    original = getattr(verify_module, moment)

    def meanwhile(*arguments: object) -> object:
        monkeypatch.undo()
        Path(output.input.inputs[0].uri, "c.tar").write_bytes(b"new")
        part(output).touch()
        finish(output)
        return original(*arguments)

    monkeypatch.setattr(verify_module, moment, meanwhile)
    assert [problem for problem in audit(output, deep=False).problems if not problem.startswith("c.tar: ")] == []
    assert audit(output).ok


def test_temporary_files_are_mentioned(output: Output) -> None:
    damage.leave_temporary_files(output)
    report = audit(output)
    assert report.ok
    assert report.warnings == [f"{output.paths.scratch}: 2 temporary files, of a run at work or of one that was killed"]


def test_other_files_in_the_folder_are_mentioned(output: Output) -> None:
    folder = Path(output.paths.output)
    (folder / "below").mkdir()
    (folder / "below" / "part.parquet").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"")
    report = audit(output)
    assert report.ok
    assert [warning.partition(":")[0] for warning in report.warnings] == [
        str(folder / "below" / "part.parquet"),
        str(folder / "notes.txt"),
    ]
