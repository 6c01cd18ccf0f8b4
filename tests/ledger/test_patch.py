"""A patch replaces some rows of a stored cell in one step, and leaves the others exactly as they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.ledger.outputs import CELL_ROWS, SCHEMA, cell_table, sealed
from vision_batch.errors import NotFoundError, PartConflictError, PartError
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import PartRecord, commit_part, read_part, seal
from vision_batch.ledger.patch import Patch, commit_patch, splice
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.row_set import RowSet
from vision_batch.storage.table import forget_s3, storage_for


def stored_part(paths: LedgerPaths, uri: str) -> StoredPart:
    info = storage_for(uri).stat(uri)
    return StoredPart(info=info, record=read_part(uri, storage_for(uri).read(uri))[0])


def stored(paths: LedgerPaths) -> StoredPart:
    """Cell 1 of a shard, rows 4 to 7, of which 5 and 6 are errors."""
    table = cell_table("a.tar", CELL_ROWS, 4, errors=[1, 2])
    commit_part(paths, table, sealed(table, shard="a.tar", cell=1, last=False))
    return stored_part(paths, paths.part("a.tar", 1))


def computed(*rows: int, errors: tuple[int, ...] = ()) -> pa.Table:
    """New rows, in order, whose label tells them from the old ones."""
    tables = [cell_table("a.tar", row, 1, errors=[0] if row in errors else [], label="dog") for row in rows]
    return pa.concat_tables(tables)


def commit(paths: LedgerPaths, patch: Patch, table: pa.Table, version: str = "v1", run: str = "run-2") -> PartRecord:
    return commit_patch(paths, patch, table, version=version, run=run)


@pytest.fixture
def paths(tmp_path: Path) -> LedgerPaths:
    return LedgerPaths(str(tmp_path))


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_each_row_is_the_new_one_where_there_is_one_and_else_the_old_one(old: set[int], new: set[int]) -> None:
    base = pa.table({"row": sorted(old), "from": ["old"] * len(old)}, pa.schema([("row", "int64"), ("from", "string")]))
    table = pa.table({"row": sorted(new), "from": ["new"] * len(new)}, base.schema)
    spliced = splice(base, table, RowSet.of(new))
    expected = {row: "old" for row in old} | {row: "new" for row in new}
    assert list(zip(*spliced.to_pydict().values(), strict=True)) == sorted(expected.items())


@pytest.mark.parametrize("rows", [(5,), (5, 6, 7), (6, 5), ()])
def test_other_rows_than_the_planned_ones_are_refused(paths: LedgerPaths, rows: tuple[int, ...]) -> None:
    base = stored(paths)
    with pytest.raises(ValueError, match="computed were the rows"):
        commit(paths, Patch(base=base, rows=RowSet.of((5, 6))), computed(*rows) if rows else SCHEMA.empty_table())
    assert stored_part(paths, base.info.uri) == base


def test_the_patched_part_is_whole_and_says_so(paths: LedgerPaths) -> None:
    base = stored(paths)
    before = pq.read_table(base.info.uri)
    record = commit(paths, Patch(base=base, rows=RowSet.of((5, 6))), computed(5, 6, errors=(6,)), version="v2")
    found, table = read_part(base.info.uri, Path(base.info.uri).read_bytes())
    assert found == record
    assert record == seal(table, replace(base.record, version="v2", run="run-2", images_ok=3, errors={"empty": 1}))
    assert table["row"].to_pylist() == [4, 5, 6, 7]
    assert table["label"].to_pylist() == ["cat", "dog", None, "cat"]
    assert table.take([0, 3]).equals(before.take([0, 3]))
    assert len(list(Path(paths.output).glob("*.parquet"))) == 1


def test_a_column_whose_type_nobody_knew_gets_its_type(paths: LedgerPaths) -> None:
    base = cell_table("a.tar", 0, 2).append_column(pa.field("truth", pa.null()), [pa.nulls(2)])
    table = cell_table("a.tar", 1, 1).append_column(pa.field("truth", pa.string()), [["7"]])
    assert splice(base, table, RowSet.of([1]))["truth"].to_pylist() == [None, "7"]


@pytest.mark.s3
def test_a_patch_that_comes_again_is_success(tmp_path: Path, s3: S3Bucket) -> None:
    paths = LedgerPaths(f"{s3.uri}/out")
    base = stored(paths)
    patch = Patch(base=base, rows=RowSet.of((5,)))
    first = commit(paths, patch, computed(5), version="v2")
    assert commit(paths, patch, computed(5), version="v2", run="run-3") == first
    assert stored_part(paths, base.info.uri).record == first


@pytest.mark.s3
def test_of_several_writers_at_once_one_wins(s3: S3Bucket) -> None:
    paths = LedgerPaths(f"{s3.uri}/out")
    base = stored(paths)
    patch = Patch(base=base, rows=RowSet.of((5,)))
    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(lambda run: commit(paths, patch, computed(5), run=f"run-{run}"), range(4)))
    (winner,) = {record.run for record in records}
    assert stored_part(paths, base.info.uri).record.run == winner


@pytest.mark.s3
def test_a_server_that_never_overwrites_gets_the_patched_part_after_the_old_one(
    rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = LedgerPaths(f"{rgw_s3.uri}/out")
    patch = Patch(base=stored(paths), rows=RowSet.of((5,)))
    with FaultProxy(rgw_s3.server.address) as proxy, ThreadPoolExecutor(2) as pool:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        proxy.rules = [Rule(kind="status", match="^PUT", header="^if-match:", status=501, code="NotImplemented")]
        first, second = pool.map(lambda run: commit(paths, patch, computed(5), run=run), ["run-2", "run-3"])
        found, table = read_part(patch.base.info.uri, storage_for(paths.output).read(patch.base.info.uri))
        assert found in (first, second)
        assert table["label"].to_pylist() == ["cat", "dog", None, "cat"]
        assert len(list(storage_for(paths.output).list(paths.output))) == 1, "nothing is left in the ledger"


def test_a_patch_that_meets_another_one_between_its_two_steps_takes_the_second_for_it(paths: LedgerPaths) -> None:
    base = stored(paths)
    patch = Patch(base=base, rows=RowSet.of((5,)))
    first = commit(paths, patch, computed(5), run="run-2")
    part, waiting = Path(base.info.uri), Path(paths.replacement(Path(base.info.uri).name))
    waiting.parent.mkdir()
    part.rename(waiting)
    assert commit(paths, patch, computed(5), run="run-3") == first
    assert stored_part(paths, base.info.uri).record == first
    assert waiting.exists(), "it is its writer's to remove"


def test_a_part_of_another_version_is_not_patched(paths: LedgerPaths) -> None:
    base = stored(paths)
    commit(paths, Patch(base=base, rows=RowSet.of((5,))), computed(5), version="v3")
    after = stored_part(paths, base.info.uri)
    with pytest.raises(PartConflictError, match="run again"):
        commit(paths, Patch(base=base, rows=RowSet.of((5,))), computed(5), version="v2")
    assert stored_part(paths, base.info.uri) == after


def test_a_part_that_is_gone_is_not_patched(paths: LedgerPaths) -> None:
    base = stored(paths)
    Path(base.info.uri).unlink()
    with pytest.raises(NotFoundError):
        commit(paths, Patch(base=base, rows=RowSet.of((5,))), computed(5))
    assert list(Path(paths.output).glob("*.parquet")) == []


def test_damage_is_not_sealed_anew(paths: LedgerPaths) -> None:
    uri = stored(paths).info.uri
    data = bytearray(Path(uri).read_bytes())
    data[40] ^= 1
    Path(uri).write_bytes(data)
    base = StoredPart(info=storage_for(uri).stat(uri), record=sealed(computed(5), shard="a.tar", cell=1))
    with pytest.raises(PartError, match=r"damaged.*verify --repair"):
        commit(paths, Patch(base=base, rows=RowSet.of((5,))), computed(5))
    assert Path(uri).read_bytes() == data
