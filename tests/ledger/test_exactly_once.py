"""The law of the ledger: whatever dies, repeats or changes in between, every image ends with exactly one row."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.outputs import CELL_ROWS, Output, new_output
from vision_batch.ledger.part import read_part
from vision_batch.ledger.replace import remove_parts
from vision_batch.ledger.state import OutputState, Work, look, todo, write_manifest
from vision_batch.ledger.verify import verify
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for

TARS = ("a.tar", "b.tar")
commits = st.tuples(st.just("commit"), st.integers(0, 1), st.integers(0, 4))
changes = st.tuples(st.just("change"), st.integers(0, 1), st.integers(1, 14))
others = st.sampled_from([("drive", 0, 0), ("remember", 0, 0), ("forget", 0, 0)])
histories = st.lists(st.one_of(commits, commits, changes, others), max_size=25)


@dataclass(slots=True)
class World:
    """An input of tars with as many rows as bytes, drivers that come and go, and workers that outlive them.

    A tar that grows does so at its beginning: every image that it had moves to other rows, and to other cells.
    """

    output: Output
    source: Path
    works: list[Work] = field(default_factory=list)
    handed_out: list[tuple[Work, tuple[ObjectInfo, ...]]] = field(default_factory=list)
    state: OutputState | None = None
    rows_of: dict[str, int] = field(default_factory=dict)

    def drive(self) -> None:
        """What a driver does between two passes."""
        plan = self.output.plan()
        self.state = look(self.output.paths, plan, self.output.definition.digest)
        remove_parts(self.output.paths, self.state.stale)
        self.works = todo(plan, self.state)
        self.rows_of |= {shard.version: shard.size_bytes for shard in plan.shards}
        for work in self.works:
            old = tuple(part.info for part in self.state.replaced.get(work.shard.source, ()))
            self.handed_out.append((work, old))

    def commit(self, tar: int, cell: int) -> None:
        """A worker of some driver commits a cell, perhaps once more; it has noticed if the tar has changed."""
        now = storage_for(self.output.paths.output).stat(str(self.source / TARS[tar]))
        exists = cell * CELL_ROWS < now.size_bytes
        for work, old in self.handed_out:
            if work.shard.files == (now,) and exists:
                self.output.commit(replace(work, done_cells=frozenset()), now.size_bytes, [cell], old)

    def change(self, tar: int, rows: int) -> None:
        if not (self.source / TARS[tar]).exists() or self.rows(tar) != rows:
            (self.source / TARS[tar]).write_bytes(bytes(rows))

    def remember(self) -> None:
        if self.state is not None:
            write_manifest(self.output.paths, self.state)

    def forget(self) -> None:
        Path(self.output.paths.manifest).unlink(missing_ok=True)

    def rows(self, tar: int) -> int:
        return (self.source / TARS[tar]).stat().st_size

    def table(self) -> list[tuple[str, int]]:
        """What any reader of OUTPUT/*.parquet sees."""
        return [place for part in Path(self.output.paths.output).glob("*.parquet") for place in _places(part)]

    def images(self) -> list[tuple[str, int]]:
        """The same images, counted from the end of the tar's version that the part is of."""
        found = []
        for part in Path(self.output.paths.output).glob("*.parquet"):
            record = read_part(str(part), part.read_bytes())[0]
            found += [(shard, self.rows_of[record.version] - row) for shard, row in _places(part)]
        return found


def _places(part: Path) -> Iterator[tuple[str, int]]:
    table = pq.read_table(part, columns=["shard", "row"])
    return zip(table.column("shard").to_pylist(), table.column("row").to_pylist(), strict=True)


@settings(max_examples=30)
@given(histories)
def test_every_image_ends_with_exactly_one_row(history: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = replace(new_output(Path(folder), images=0), format="webdataset")
        world = World(output=output, source=Path(folder, "in"))
        for tar in range(len(TARS)):
            world.change(tar, 9)
        world.drive()
        for what, *numbers in history:
            arguments = numbers if what in ("commit", "change") else []
            getattr(world, what)(*arguments)
            seen = world.images()
            assert len(set(seen)) == len(seen), "at no moment does an image appear twice"
        world.drive()
        for tar in range(len(TARS)):
            for cell in range(5):
                world.commit(tar, cell)
        world.drive()
        assert world.works == []
        everything = {(TARS[tar], row) for tar in range(len(TARS)) for row in range(world.rows(tar))}
        assert set(world.table()) == everything
        report = verify(output.paths.output, deep=True)
        assert report.ok, report.problems
