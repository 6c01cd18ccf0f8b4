"""Harm that comes to the files of an output, one function each.

The output is a real one: two tars of nine rows, four rows to a cell, so six parts.
"""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.ledger.outputs import Output, cell_table, new_output, sealed
from vision_batch.ledger.definition import Definition
from vision_batch.ledger.part import commit_part
from vision_batch.ledger.state import write_manifest
from vision_batch.storage.table import storage_for

ROWS = 9


def tars(folder: Path, definition: Definition | None = None) -> Output:
    output = new_output(folder, images=0, **({} if definition is None else {"definition": definition}))
    for name in ("a", "b"):
        (folder / "in" / f"{name}.tar").write_bytes(b"x" * 100)
    return replace(output, format="webdataset")


def finish(output: Output) -> Output:
    """What a run does to its end, or another one that resumes it."""
    for info in output.look().stale:
        storage_for(info.uri).delete(info.uri)
    for work in output.todo():
        output.commit(work, rows=ROWS)
    write_manifest(output.paths, output.look())
    return output


def part(output: Output, tar: str = "a", cell: int = 0) -> Path:
    return Path(output.paths.part(f"{tar}.tar", cell))


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


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def footer_start(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def flip_column(part: Path, name: str) -> None:
    """One bit of the column's last page; the footer, and what the file system says of the file, stay as they were."""
    times = part.stat().st_atime_ns, part.stat().st_mtime_ns
    group = pq.read_metadata(part).row_group(0)
    column = next(column for at in range(group.num_columns) if (column := group.column(at)).path_in_schema == name)
    start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
    part.write_bytes(flipped(part.read_bytes(), start + column.total_compressed_size - 1, 0))
    os.utime(part, ns=times)


def flip_in_a_page(output: Output) -> None:
    part(output).write_bytes(flipped(part(output).read_bytes(), 60, 0))


def flip_in_the_footer(output: Output) -> None:
    data = part(output).read_bytes()
    part(output).write_bytes(flipped(data, footer_start(data) + 9, 3))


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


def replace_by_foreign(output: Output) -> None:
    pq.write_table(pa.table({"a": [1]}), part(output))


def leave_temporary_files(output: Output) -> None:
    for name in (".0123.tmp", ".4567.tmp"):
        Path(output.paths.scratch, name).write_bytes(b"x" * 500)


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
