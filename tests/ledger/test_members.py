"""Members: the files of a group come out of the ledger as they were planned, and are looked at nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import S3Bucket
from tests.ledger.outputs import Output, new_output
from vision_batch.datasets.shard import Shard
from vision_batch.errors import LedgerError
from vision_batch.ledger import members as members_module
from vision_batch.ledger import plan as plan_module
from vision_batch.ledger.members import (
    MembersWriter,
    collect_members,
    decode_members,
    encode_members,
    load_members,
    load_members_table,
    read_groups,
    with_members,
)
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import Plan
from vision_batch.ledger.recorded import earlier_shards
from vision_batch.storage.object_info import ObjectInfo

names = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1) | st.just("caf\udce9")
infos = st.builds(ObjectInfo, uri=names.map("/in/{}".format), size_bytes=st.integers(0, 1 << 60), version=st.just("v"))


def file(number: int) -> ObjectInfo:
    return ObjectInfo(uri=f"/in/{number}.jpg", size_bytes=number, version=f"v{number}")


def group(key: str) -> Shard:
    return Shard(key=key, input_name="", root="/in", format="folder")


def stored(output: Output) -> list[Path]:
    return sorted(Path(output.paths.plan).glob("*.members"))


@given(st.lists(infos, max_size=5), st.sampled_from(["/in", "/"]))
def test_members_are_read_as_they_were_written(files: list[ObjectInfo], root: str) -> None:
    assert decode_members(encode_members(files, root), root) == tuple(files)


def test_a_groups_files_are_loaded_from_the_ledger(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=6)
    first, second = output.plan().shards
    assert (first.files, first.rows, first.size_bytes) == ((), 4, 1 + 2 + 3 + 4)
    loaded = load_members(output.paths, second)
    assert [Path(file.uri).name for file in loaded.files] == ["00004.jpg", "00005.jpg"]
    assert replace(loaded, files=()) == second
    assert load_members(output.paths, loaded) is loaded


def test_some_of_a_groups_files_are_at_their_own_places(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=6)
    shard = output.plan().shards[0]
    table = load_members_table(output.paths, shard)
    whole = load_members(output.paths, shard).files
    for first, stop in ((0, 4), (1, 3), (3, 4), (2, 2)):
        some = with_members(shard, table, first, stop)
        assert len(some.files) == len(whole)
        assert some.files[first:stop] == whole[first:stop]
        assert not {info.uri for info in (*some.files[:first], *some.files[stop:])} - {""}


def test_a_shard_that_is_no_group_is_itself() -> None:
    shard = Shard(key="a.tar", input_name="", root="/in", format="webdataset", files=(file(1),))
    assert load_members(LedgerPaths("/nowhere"), shard) is shard
    assert with_members(shard, load_members_table(LedgerPaths("/nowhere"), shard), 0, 1) is shard


def test_large_ledgers_are_several_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "OBJECT_BYTES", 2000)
    output = new_output(tmp_path, images=40)
    shards = output.plan().shards
    assert 1 < len(stored(output)) < len(shards) == 10
    together = dict(read_groups(output.paths, shards))
    assert together == {shard: load_members(output.paths, shard).files for shard in shards}
    assert sorted(file.uri for files in together.values() for file in files) == [
        str(path) for path in sorted((tmp_path / "in").iterdir())
    ]


def test_whoever_writes_the_same_members_writes_the_same_object(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    shards = []
    for write in (True, True, False):
        writer = MembersWriter(paths, 1, write=write)
        writer.add(group("files-000001"), [file(1), file(2)])
        writer.add(group("files-000002"), [file(3)])
        writer.flush()
        writer.flush()
        shards.append(writer.shards)
    assert shards[0] == shards[1] == shards[2]
    assert len(list(Path(paths.plan).iterdir())) == 1


def test_the_version_changes_with_every_fact_of_a_file(tmp_path: Path) -> None:
    changes: list[Callable[[ObjectInfo], ObjectInfo]] = [
        lambda file: file,
        lambda file: replace(file, uri="/in/other.jpg"),
        lambda file: replace(file, size_bytes=9),
        lambda file: replace(file, version="v9"),
    ]
    writer = MembersWriter(LedgerPaths(str(tmp_path)), 1, write=False)
    for change in changes:
        writer.add(group("files-000001"), [file(1), change(file(2))])
    writer.flush()
    assert len({shard.version for shard in writer.shards}) == len(changes)


def test_the_files_of_an_earlier_version_can_still_be_told(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=6)
    before = {shard.key: shard for shard in output.plan().shards}
    changed = tmp_path / "in" / "00001.jpg"
    for content in (b"changed", b"changed again"):
        changed.write_bytes(content)
        output.plan()
    wanted = {key: shard.version for key, shard in before.items()} | {"files-000009": "v"}
    assert earlier_shards(output.paths, wanted) == before
    old = load_members(output.paths, before["files-000001"]).files
    new = load_members(output.paths, output.plan().shards[0]).files
    assert [one == other for one, other in zip(old, new, strict=True)] == [True, False, True, True]


def collect(output: Output, plan: Plan) -> None:
    collect_members(output.paths, plan.segments, plan.members)


def test_what_no_group_is_any_more_is_collected(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=6)
    output.plan()
    for content in (b"changed", b"changed again"):
        (tmp_path / "in" / "00001.jpg").write_bytes(content)
        output.plan()
    assert len(stored(output)) == 3
    Path(output.paths.members("note.txt")).write_bytes(b"somebody else's")
    plan = output.plan()
    collect(output, plan)
    assert {path.name for path in stored(output)} == plan.members
    assert len(plan.members) == 2
    assert output.plan() == plan
    assert len(list(Path(output.paths.plan).iterdir())) == 3 + 2 + 1


def test_a_planner_that_was_suspended_before_it_wrote_its_segment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its members are stored; another planner takes the number of its segment and collects them."""
    output, write = new_output(tmp_path, images=6), plan_module.write_segment

    def suspended(*arguments: Any) -> None:
        monkeypatch.undo()
        (waiting,) = stored(output)
        (tmp_path / "in" / "00001.jpg").write_bytes(b"changed meanwhile")
        collect(output, output.plan())
        assert not waiting.exists()
        (tmp_path / "in" / "00001.jpg").write_bytes(b"changed again")
        write(*arguments)

    monkeypatch.setattr(plan_module, "write_segment", suspended)
    plan = output.plan()
    assert plan.segments == 2
    assert len(list(read_groups(output.paths, plan.shards))) == 2


def test_a_planner_that_was_suspended_before_it_collected_takes_nothing_of_a_newer_plan(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=6)
    old = output.plan()
    (tmp_path / "in" / "00001.jpg").write_bytes(b"changed")
    new = output.plan()
    (tmp_path / "in" / "00001.jpg").write_bytes(b"x" * 2)
    newest = output.plan()
    for plan in (old, new):
        collect(output, plan)
        assert len(list(read_groups(output.paths, newest.shards))) == 2


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_lost_or_damaged_members_are_an_error_of_the_ledger(tmp_path: Path, damage: str) -> None:
    output = new_output(tmp_path)
    shard = output.plan().shards[-1]
    (members,) = stored(output)
    data = members.read_bytes()
    damaged = {"cut": data[:-9], "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]}
    members.unlink() if damage == "missing" else members.write_bytes(damaged[damage])
    with pytest.raises(LedgerError, match=r"members of .*restore it from a copy"):
        load_members(output.paths, shard)
    with pytest.raises(LedgerError, match="members"):
        load_members_table(output.paths, shard)
    with pytest.raises(LedgerError, match="members of"):
        output.plan()


@pytest.mark.s3
def test_members_are_stored_on_s3_too(tmp_path: Path, moto_s3: S3Bucket) -> None:
    output = new_output(tmp_path, images=6, uri=f"{moto_s3.uri}/labels")
    output.plan()
    assert [len(load_members(output.paths, shard).files) for shard in output.plan().shards] == [4, 2]
