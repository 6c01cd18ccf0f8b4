"""Parts of changed input make way for new ones: one for one in one step, else the old before the new, and late."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.ledger.outputs import CELL_ROWS, Output, cell_table, new_output, sealed
from vision_batch.errors import ForbiddenError, HeldError, PartConflictError, PartError
from vision_batch.ledger.inspect import list_folder
from vision_batch.ledger.lease import held_lease
from vision_batch.ledger.part import PartRecord, read_part_record
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.replace import Replacer, finish_replacements, remove_part, remove_parts
from vision_batch.ledger.state import look
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import Storage
from vision_batch.storage.table import forget_s3, storage_for


def commit(
    replacer: Replacer, cell: int, version: str, old: list[ObjectInfo] | None = None, *, last: bool = True
) -> PartRecord:
    table = cell_table("a.tar", cell * CELL_ROWS, CELL_ROWS)
    return replacer.commit(table, sealed(table, shard="a.tar", cell=cell, last=last, version=version), old or [])


def stored(paths: LedgerPaths) -> list[ObjectInfo]:
    return [info for info in storage_for(paths.output).list(paths.output) if paths.is_table_file(info.uri)]


def versions(paths: LedgerPaths) -> dict[int, str]:
    """The version of each cell's part."""
    storage = storage_for(paths.output)
    records = [read_part_record(storage, info) for info in stored(paths)]
    return {record.cell: record.version for record in records}


def never(*arguments: object, **options: object) -> None:
    raise AssertionError("something was deleted")


@pytest.mark.s3
def test_one_part_takes_the_place_of_one_part_in_one_step(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = LedgerPaths(f"{s3.uri}/out")
    commit(Replacer(paths), 0, "v1")
    old = stored(paths)
    monkeypatch.setattr(type(storage_for(paths.output)), "delete", never)
    first = commit(Replacer(paths), 0, "v2", old)
    assert versions(paths) == {0: "v2"}
    assert commit(Replacer(paths), 0, "v2", old) == first  # once more, as after a lost answer
    assert len(stored(paths)) == 1


REFUSALS = [(501, "NotImplemented"), (412, "PreconditionFailed")]


@contextmanager
def never_overwriting(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> Iterator[FaultProxy]:
    """A server that refuses every PUT If-Match; what is said of its bucket goes through a proxy."""
    with FaultProxy(bucket.server.address) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        proxy.rules = [Rule(kind="status", match="^PUT", header="^if-match:", status=status, code=code)]
        yield proxy


@pytest.mark.s3
@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_a_server_that_never_overwrites_gets_the_new_part_after_the_old_one(
    rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    paths = LedgerPaths(f"{rgw_s3.uri}/out")
    commit(Replacer(paths), 0, "v1")
    old = stored(paths)
    with never_overwriting(rgw_s3, monkeypatch, status, code):
        first = commit(Replacer(paths), 0, "v2", old)
        assert versions(paths) == {0: "v2"}
        assert commit(Replacer(paths), 0, "v2", old) == first
        assert len(list(storage_for(paths.output).list(paths.output))) == 1, "nothing is left in the ledger"


@pytest.mark.s3
def test_a_replacement_that_was_cut_short_is_finished_and_loses_nothing(
    rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old part has gone, and the storage closes before the new one is created."""
    paths = LedgerPaths(f"{rgw_s3.uri}/out")
    commit(Replacer(paths), 0, "v1")
    old = stored(paths)
    with never_overwriting(rgw_s3, monkeypatch, *REFUSALS[0]) as proxy:
        proxy.rules += [Rule(kind="status", match="^PUT", header="^if-none-match:", status=403, code="AccessDenied")]
        with pytest.raises(ForbiddenError):
            commit(Replacer(paths), 0, "v2", old)
        assert stored(paths) == []
        del proxy.rules[1:]
        with pytest.raises(HeldError):
            finish_replacements(paths, "run-2")
        with held_lease(paths, "run-2"):
            finish_replacements(paths, "run-2")
        assert versions(paths) == {0: "v2"}
        assert list_folder(paths.replacements) == []


def test_a_replacement_is_forgotten_where_another_part_is_in_its_place(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    commit(Replacer(paths), 0, "v2")
    storage_for(paths.output).put(paths.replacement(paths.part_name("a.tar", 0)), b"an older part")
    with held_lease(paths, "run-2"):
        finish_replacements(paths, "run-2")
    assert versions(paths) == {0: "v2"}
    assert list_folder(paths.replacements) == []


def test_what_another_has_put_there_meanwhile_stays(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    commit(Replacer(paths), 0, "v1")
    old = stored(paths)
    commit(Replacer(paths), 0, "v3", old)
    with pytest.raises(PartConflictError):
        commit(Replacer(paths), 0, "v2", old)
    assert versions(paths) == {0: "v3"}


@pytest.mark.parametrize(("cells", "new_cells"), [(1, 3), (3, 1), (3, 3), (2, 4)])
def test_old_parts_stay_until_the_first_new_one_comes_and_all_go_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int, new_cells: int
) -> None:
    paths = LedgerPaths(str(tmp_path))
    for cell in range(cells):
        commit(Replacer(paths), cell, "v1", last=cell == cells - 1)
    old, replacer = stored(paths), Replacer(paths)
    seen: list[dict[int, str]] = []
    put = type(storage_for(paths.output)).put

    def watched(storage: Storage, *arguments: object, **options: object) -> ObjectInfo:
        seen.append(versions(paths))
        return put(storage, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(storage_for(paths.output)), "put", watched)
    assert versions(paths) == dict.fromkeys(range(cells), "v1")
    for cell in reversed(range(new_cells)):
        commit(replacer, cell, "v2", old, last=cell == new_cells - 1)
    assert seen[0] == {}
    assert all(set(found.values()) <= {"v2"} for found in seen)
    assert versions(paths) == dict.fromkeys(range(new_cells), "v2")


def test_a_part_that_is_another_one_by_now_is_not_removed(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    commit(Replacer(paths), 0, "v1")
    old = stored(paths)
    commit(Replacer(paths), 0, "v2", old)
    remove_parts(paths, [*old, replace(old[0], uri=paths.part("a.tar", 7))])
    assert versions(paths) == {0: "v2"}


def test_a_part_that_comes_between_the_look_and_the_removal_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remover was suspended, and a newer run has replaced the part meanwhile."""
    paths = LedgerPaths(str(tmp_path))
    commit(Replacer(paths), 0, "v1")
    (old,) = stored(paths)
    rename = os.rename

    def suspended(source: str, to: str) -> None:
        monkeypatch.undo()
        commit(Replacer(paths), 0, "v2", [old])
        rename(source, to)

    monkeypatch.setattr(os, "rename", suspended)
    assert not remove_part(paths, old)
    assert versions(paths) == {0: "v2"}
    assert list(Path(paths.scratch).iterdir()) == []
    assert remove_part(paths, *stored(paths))
    assert stored(paths) == []


def test_a_newer_part_that_is_lost_on_its_way_back_was_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, and somebody clears the scratch folder just then."""
    paths = LedgerPaths(str(tmp_path))
    commit(Replacer(paths), 0, "v1")
    (old,) = stored(paths)
    rename = os.rename

    def suspended(source: str, to: str) -> None:
        monkeypatch.undo()
        commit(Replacer(paths), 0, "v2", [old])
        rename(source, to)
        os.unlink(to)

    monkeypatch.setattr(os, "rename", suspended)
    assert not remove_part(paths, old)


@pytest.mark.s3
def test_a_removal_that_reaches_the_server_late_leaves_the_part_that_came_before_it(
    moto_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, where the server deletes under a condition: Amazon's S3 and moto do, Ceph's gateway does not."""
    with FaultProxy(moto_s3.server.address) as proxy, ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        paths = LedgerPaths(f"{moto_s3.uri}/out")
        commit(Replacer(paths), 0, "v1")
        (old,) = stored(paths)
        proxy.rules = [Rule(kind="delay", match="^DELETE", s=0.5, n=1)]
        removal = pool.submit(remove_part, paths, old)
        while not proxy.hits():
            time.sleep(0.01)
        commit(Replacer(paths), 0, "v2", [old])
        assert not removal.result()
        assert versions(paths) == {0: "v2"}


def tar_output(tmp_path: Path, rows: int) -> Output:
    output = replace(new_output(tmp_path, images=0), format="webdataset")
    (tmp_path / "in" / "a.tar").write_bytes(bytes(rows))
    (work,) = output.todo()
    output.commit(work, rows)
    return output


def test_a_look_leaves_old_parts_until_something_new_is_there(tmp_path: Path) -> None:
    output = tar_output(tmp_path, 2 * CELL_ROWS)
    (tmp_path / "in" / "a.tar").write_bytes(bytes(3 * CELL_ROWS))
    state = output.look()
    assert (state.stale, state.done, len(state.replaced[str(tmp_path / "in" / "a.tar")])) == ((), {}, 2)
    (work,) = output.todo()
    output.commit(work, 3 * CELL_ROWS, cells=[2])  # a faulty writer, which removes nothing
    state = output.look()
    assert (len(state.stale), state.replaced) == (2, {}), "at once, so that nothing is seen twice"


def test_parts_of_keys_that_a_file_no_longer_has_go_with_those_that_it_has(tmp_path: Path) -> None:
    output = tar_output(tmp_path, CELL_ROWS)
    plan = output.plan()
    (part,) = output.look().current
    file = plan.shards[0].files[0].uri
    changed = replace(plan, superseded={"a.tar": file}, shards=(replace(plan.shards[0], key="a.tar#0"),))
    state = look(output.paths, changed, output.definition.digest)
    assert (state.stale, state.replaced) == ((), {file: (part,)})
    emptied = replace(changed, shards=())
    assert look(output.paths, emptied, output.definition.digest).stale == (part.info,)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_part_in_the_way_is_said_with_the_way_out(tmp_path: Path, damage: str) -> None:
    paths = LedgerPaths(str(tmp_path / "my labels"))
    commit(Replacer(paths), 0, "v1")
    part = Path(paths.part("a.tar", 0))
    data = part.read_bytes()
    part.write_bytes(data[:-9] if damage == "cut" else data[:-99] + bytes([data[-99] ^ 1]) + data[-98:])
    with pytest.raises(PartError, match=r"`vision-batch verify --repair '.*/my labels'` sets it aside; then run again"):
        commit(Replacer(paths), 0, "v1")
