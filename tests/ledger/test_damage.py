"""Whatever happens to the files of an output, an audit says so; where all is well, it says nothing.

Every case starts from a real output: two tars of nine rows, four rows to a cell, so six parts.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ledger.outputs import CELL_ROWS, Output, cell_table, new_output, sealed
from vision_batch.errors import PartError
from vision_batch.ledger import verify as verify_module
from vision_batch.ledger.definition import Definition
from vision_batch.ledger.part import commit_part, read_part
from vision_batch.ledger.state import write_manifest
from vision_batch.ledger.verify import VerifyReport, verify

ROWS = 9


def tars(folder: Path, definition: Definition | None = None) -> Output:
    output = new_output(folder, images=0, **({} if definition is None else {"definition": definition}))
    for name in ("a", "b"):
        (folder / "in" / f"{name}.tar").write_bytes(b"x" * 100)
    return replace(output, format="webdataset")


def finish(output: Output) -> Output:
    """What a run does to its end, or another one that resumes it."""
    for work in output.todo():
        output.commit(work, rows=ROWS)
    write_manifest(output.paths, output.look())
    return output


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return finish(tars(tmp_path))


def part(output: Output, tar: str = "a", cell: int = 0) -> Path:
    return Path(output.paths.part(f"{tar}.tar", cell))


def audit(output: Output, *, deep: bool = True) -> VerifyReport:
    return verify(output.paths.output, deep=deep)


Damage = Callable[[Output], None]


def delete(output: Output) -> None:
    part(output).unlink()


def delete_last(output: Output) -> None:
    part(output, cell=2).unlink()


def delete_and_forget(output: Output) -> None:
    part(output).unlink()
    Path(output.paths.manifest).unlink()


def duplicate(output: Output) -> None:
    shutil.copy(part(output), part(output).with_name("copy.parquet"))


def duplicate_as_another_cell(output: Output) -> None:
    shutil.copy(part(output), part(output, cell=3))


def rename(output: Output) -> None:
    part(output).rename(part(output).with_name("renamed.parquet"))


def exchange(output: Output) -> None:
    first, second = part(output, "a"), part(output, "b")
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def truncate(output: Output) -> None:
    part(output).write_bytes(part(output).read_bytes()[:-1])


def empty(output: Output) -> None:
    part(output).write_bytes(b"")


def append(output: Output) -> None:
    part(output).write_bytes(part(output).read_bytes() + b"\n")


def rewrite(output: Output) -> None:
    """As tools do that read a table and write it back, with its metadata."""
    file = pq.ParquetFile(part(output))
    pq.write_table(file.read().replace_schema_metadata(file.metadata.metadata), part(output))


def rewrite_without_a_row_group(output: Output) -> None:
    file = pq.ParquetFile(part(output))
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, file.schema_arrow) as writer:
        writer.write_table(file.read().slice(0, 2))
        writer.add_key_value_metadata(file.metadata.metadata)
    part(output).write_bytes(sink.getvalue())


def add_foreign(output: Output) -> None:
    pq.write_table(pa.table({"a": [1]}), part(output).with_name("foreign.parquet"))


def add_what_is_no_parquet(output: Output) -> None:
    part(output).with_name("notes.parquet").write_text("not Parquet at all")


def change_the_input(output: Output) -> None:
    Path(output.input.inputs[0].uri, "a.tar").write_bytes(b"changed")
    output.plan()


def move_from_another_definition(output: Output) -> None:
    other = finish(tars(Path(output.paths.output).parent / "other", Definition({"precision": "bf16"})))
    shutil.copy(part(other), part(output))


def move_from_another_input(output: Output) -> None:
    other = finish(tars(Path(output.paths.output).parent / "other"))
    shutil.copy(part(other), part(output))


def move_from_another_shard(output: Output) -> None:
    other = tars(Path(output.paths.output).parent / "other")
    table = cell_table("c.tar", 0, 4)
    shutil.copy(_committed(other, table, shard="c.tar"), part(output).parent)


def commit_past_the_last(output: Output) -> None:
    (version,) = {shard.version for shard in output.plan().shards if shard.key == "a.tar"}
    _committed(output, cell_table("a.tar", 12, 4), shard="a.tar", version=version, cell=3)


def _committed(output: Output, table: pa.Table, *, shard: str, version: str = "v1", cell: int = 0) -> Path:
    commit_part(output.paths, table, sealed(table, shard=shard, version=version, cell=cell))
    return Path(output.paths.part(shard, cell))


def forget_the_plan(output: Output) -> None:
    shutil.rmtree(output.paths.plan)


def damage_the_plan(output: Output) -> None:
    segment = Path(output.paths.segment(1))
    segment.write_bytes(segment.read_bytes()[:-1])


def forget_the_definition(output: Output) -> None:
    Path(output.paths.definition).unlink()


def damage_the_definition(output: Output) -> None:
    definition = Path(output.paths.definition)
    definition.write_text(definition.read_text().replace("fp32", "fp16"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (delete, "a.tar: incomplete, cells 0 are missing"),
        (delete_last, "a.tar: incomplete, cells those after 1 are missing"),
        (delete_and_forget, "a.tar: incomplete, cells 0 are missing"),
        (duplicate, "copy.parquet: a copy of cell 0 of a.tar"),
        (duplicate_as_another_cell, "a copy of cell 0 of a.tar"),
        (rename, "renamed.parquet: a copy of cell 0 of a.tar"),
        (exchange, "a copy of cell 0 of b.tar"),
        (truncate, "its end is missing"),
        (empty, "its end is missing"),
        (append, "its end is missing"),
        (rewrite, "its footer is damaged"),
        (rewrite_without_a_row_group, "its footer is damaged"),
        (add_foreign, "foreign.parquet: a Parquet file that vision-batch did not write"),
        (add_what_is_no_parquet, "notes.parquet: not a whole Parquet file"),
        (change_the_input, "of an earlier version of the input"),
        (move_from_another_definition, "predicted under another definition"),
        (move_from_another_input, "of an earlier version of the input"),
        (move_from_another_shard, "of a shard that the plan does not know: c.tar"),
        (commit_past_the_last, "a.tar: cell 2 says it is the last, 3 exists"),
        (forget_the_plan, "the ledger has no plan"),
        (damage_the_plan, "a segment of the plan cannot be read"),
        (forget_the_definition, "the ledger has no definition"),
        (damage_the_definition, "the output's definition cannot be read"),
    ],
)
def test_it_is_found_without_reading_pages(output: Output, damage: Damage, said: str) -> None:
    assert audit(output).ok
    damage(output)
    report = audit(output, deep=False)
    assert not report.ok
    assert said in "\n".join(report.problems)
    assert set(report.problems) <= set(audit(output, deep=True).problems)


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def test_every_flipped_bit_of_a_part_is_found(output: Output) -> None:
    """All bits of all bytes; the whole audit looks at one in a hundred, those of the footer without reading pages."""
    whole = part(output).read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            with pytest.raises(PartError):
                read_part("part", flipped(whole, at, bit))
                pytest.fail(f"bit {bit} of byte {at}")
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for at in (0, *range(5, len(whole), 13), len(whole) - 1):
        part(output).write_bytes(flipped(whole, at, at % 8))
        report = audit(output, deep=at < footer)
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


@pytest.mark.parametrize("moment", ["list_parts", "read_definition", "inspect"])
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
    scratch = Path(output.paths.scratch)
    (scratch / ".0123.tmp").write_bytes(b"x" * 1000)
    report = audit(output)
    assert report.ok
    assert report.warnings == [
        f"{scratch}: 1 temporary files of 1,000 bytes, of a run at work or of one that was killed"
    ]
