"""Groups: a folder's files are matched with the plan as a stream, whatever came, changed or left in between."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger.outputs import Output, new_output
from vision_batch.errors import StorageError
from vision_batch.ledger import members as members_module
from vision_batch.ledger.groups import match_groups
from vision_batch.ledger.match import Found, Matched
from vision_batch.ledger.members import load_members
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.recorded import Recorded
from vision_batch.storage.object_info import ObjectInfo


def names(output: Output) -> list[list[str]]:
    """The files of each group, by their base names."""
    shards = output.plan().shards
    return [[Path(file.uri).stem for file in load_members(output.paths, shard).files] for shard in shards]


def touch(output: Output, *files: str) -> None:
    for name in files:
        Path(output.input.inputs[0].uri, f"{name}.jpg").write_bytes(b"x")


def test_what_comes_between_old_files_forms_groups_of_its_own(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=0)
    touch(output, "b", "d", "f", "h", "j")
    assert names(output) == [["b", "d", "f", "h"], ["j"]]
    touch(output, "a", "c", "k")
    assert names(output) == [["b", "d", "f", "h"], ["j"], ["a", "c", "k"]]
    touch(output, "e", "l")
    assert names(output) == [["b", "d", "f", "h"], ["j"], ["a", "c", "k"], ["e", "l"]]


def test_a_changed_file_is_recorded_in_its_own_group_only(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=0)
    touch(output, "a", "b", "c", "d", "e")
    output.plan()
    touch(output, "f", "a1")
    before = output.plan().shards
    (tmp_path / "in" / "c.jpg").write_bytes(b"other")
    (tmp_path / "in" / "f.jpg").write_bytes(b"other")
    plan = output.plan()
    assert plan.added == 2
    assert [new == old for new, old in zip(plan.shards, before, strict=True)] == [False, True, False]
    sizes = [[file.size_bytes for file in load_members(output.paths, shard).files] for shard in plan.shards]
    assert sizes == [[1, 1, 5, 1], [1], [1, 5]]
    assert output.plan().added == 0


def test_a_removed_file_keeps_its_place_also_when_its_neighbours_change(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=0)
    touch(output, "a", "b", "c", "d")
    output.run()
    (tmp_path / "in" / "d.jpg").unlink()
    (tmp_path / "in" / "a.jpg").write_bytes(b"other")
    assert (output.plan().removed, names(output)) == (1, [["a", "b", "c", "d"]])
    touch(output, "d")
    assert (output.plan().removed, names(output)) == (0, [["a", "b", "c", "d"]])


def test_shards_of_another_format_are_no_groups(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=0)
    touch(output, "a", "b")
    (tmp_path / "in" / "c.tar").write_bytes(b"x" * 10)
    replace(output, format="webdataset").plan()
    assert names(output) == [["a", "b"]]
    assert names(output) == [["a", "b"]]


def found(name: str) -> Found:
    return Found(info=ObjectInfo(uri=f"/in/{name}.jpg", size_bytes=1, version=name), root="/in", input_name="")


def matched(folder: Path, files: Iterable[Found]) -> Matched:
    return match_groups(LedgerPaths(str(folder)), Recorded(), files, "folder", 64, write=True)


def test_a_listing_out_of_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="out of order"):
        matched(tmp_path, map(found, "acb"))


def test_memory_does_not_grow_with_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "OBJECT_BYTES", 20_000)

    def peak_bytes(count: int) -> int:
        files: Iterator[Found] = (found(f"{number:06d}") for number in range(count))
        tracemalloc.start()
        try:
            planned = matched(tmp_path / str(count), files)
            recorded = Recorded()
            recorded.add(planned.entries)
            again = (found(f"{number:06d}") for number in range(count))
            assert not match_groups(
                LedgerPaths(str(tmp_path / str(count))), recorded, again, "folder", 64, write=True
            ).entries
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak_bytes(2_000), peak_bytes(22_000)
    assert (many - few) / 20_000 < 40, "bytes for each further file, of which there are 64 to a shard"
