"""The law of folders: whatever comes, changes, goes, is pruned and dies, each file has one row, always at one place."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.outputs import CELL_ROWS, SCHEMA, Output, new_output, sealed
from vision_batch.datasets.shard import PRUNED
from vision_batch.datasets.table import format_named
from vision_batch.ledger.change import change_patches
from vision_batch.ledger.members import load_members
from vision_batch.ledger.patch import commit_patch
from vision_batch.ledger.plan import make_plan
from vision_batch.ledger.replace import Replacer, remove_parts
from vision_batch.ledger.retry import with_retries
from vision_batch.ledger.state import Work, look, todo
from vision_batch.ledger.verify import verify
from vision_batch.storage.object_info import ObjectInfo

NAMES = "abcdefg"
FIRST = ("b", "c", "d", "e", "g", "always there")
writes = st.tuples(st.just("write"), st.sampled_from(NAMES))
removes = st.tuples(st.just("remove"), st.sampled_from(NAMES))
commits = st.tuples(st.just("commit"), st.integers(0, 3))
drives = st.sampled_from([("drive", False), ("drive", True)])
histories = st.lists(st.one_of(writes, removes, commits, drives), max_size=30)


@dataclass(slots=True)
class World:
    """A folder whose files change, drivers that come and go, and workers that commit some of what they were given.

    A row's label is the size of the file that it was computed from; a row whose file is not there is `missing`.
    """

    output: Output
    source: Path
    works: list[tuple[Work, tuple[ObjectInfo, ...]]] = field(default_factory=list)
    versions: int = 0
    known: set[str] = field(default_factory=set)
    pruned: set[str] = field(default_factory=set)

    def write(self, name: str) -> None:
        self.versions += 1
        (self.source / f"{name}.jpg").write_bytes(bytes(self.versions))

    def remove(self, name: str) -> None:
        (self.source / f"{name}.jpg").unlink(missing_ok=True)

    def drive(self, prune: bool) -> None:
        """What a driver does before a pass."""
        output, paths = self.output, self.output.paths
        format = format_named("folder")
        plan = make_plan(paths, output.input, format, cell_rows=CELL_ROWS, write=True, prune=prune)
        state = look(paths, plan, output.definition.digest)
        remove_parts(paths, state.stale)
        patches, _ = with_retries(change_patches(paths, plan.shards, state.replaced), state.current, (), "run")
        self.works = []
        for work in todo(plan, state, patches):
            old = () if work.patches else state.replaced.get(work.shard.source, ())
            self.works.append((work, tuple(part.info for part in old)))
        present = {path.name for path in self.source.iterdir()}
        self.known |= present
        self.pruned = (self.pruned | (self.known if prune else set())) - present

    def commit(self, number: int) -> None:
        """A worker does one of the works that the latest driver gave out, perhaps once more."""
        if not self.works:
            return
        work, old = self.works[number % len(self.works)]
        shard = load_members(self.output.paths, work.shard)
        if work.patches:
            (patch,) = work.patches
            table = self._rows(shard.key, shard.files, patch.rows) if patch.rows else None
            commit_patch(self.output.paths, patch, table, version=shard.version, run="run")
        else:
            live = [row for row, file in enumerate(shard.files) if file.version != PRUNED]
            table = self._rows(shard.key, shard.files, live)
            Replacer(self.output.paths).commit(table, sealed(table, shard=shard.key, version=shard.version), old)

    def finish(self) -> None:
        """What a run does that is left alone."""
        self.drive(False)
        while self.works:
            for number in range(len(self.works)):
                self.commit(number)
            self.drive(False)

    def _rows(self, shard: str, files: tuple[ObjectInfo, ...], rows: list[int] | tuple[int, ...]) -> pa.Table:
        there = [Path(files[row].uri).exists() for row in rows]
        columns = {
            "image_id": [Path(files[row].uri).name for row in rows],
            "shard": [shard] * len(rows),
            "row": list(rows),
            "width": [None] * len(rows),
            "height": [None] * len(rows),
            "error_code": [None if found else "missing" for found in there],
            "error": [None if found else "gone" for found in there],
            "label": [str(files[row].size_bytes) if found else None for row, found in zip(rows, there, strict=True)],
        }
        return pa.table(columns, schema=SCHEMA)

    def table(self) -> list[dict[str, object]]:
        """What any reader of OUTPUT/*.parquet sees."""
        parts = sorted(Path(self.output.paths.output).glob("*.parquet"))
        return [row for part in parts for row in pq.read_table(part).to_pylist()]


@settings(max_examples=20)
@given(histories)
def test_every_file_has_one_row_at_one_place_whatever_happens_at_night(history: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(output=new_output(Path(folder), images=0), source=Path(folder, "in"))
        for name in FIRST:
            world.write(name)
        world.finish()
        places: dict[object, tuple[object, object]] = {}
        for what, argument in history:
            getattr(world, what)(argument)
            rows = world.table()
            assert len({row["image_id"] for row in rows}) == len(rows)
            for row in rows:
                place = row["shard"], row["row"]
                assert places.setdefault(row["image_id"], place) == place
        before = {row["image_id"]: row for row in world.table()}
        world.finish()
        after = {row["image_id"]: row for row in world.table()}
        present = {path.name: str(path.stat().st_size) for path in world.source.iterdir()}
        assert {name: after[name]["label"] for name in present} == present
        # What left keeps the row that it had, also when it had changed or come back and was not computed again.
        left = before.keys() - present.keys() - world.pruned
        assert after.keys() == present.keys() | left
        assert all(after[name] == before[name] for name in left)
        report = verify(world.output.paths.output, deep=True)
        assert (report.ok, report.missing, report.images) == (True, 0, len(after)), report.problems
