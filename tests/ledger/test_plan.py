"""The plan: shards are frozen when first planned, whatever happens to the input later."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import S3Bucket
from tests.ledger.outputs import CELL_ROWS, Output, new_output, with_input
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import PRUNED, Shard
from vision_batch.datasets.table import FORMATS
from vision_batch.errors import ForbiddenError, LedgerError, SpecError
from vision_batch.ledger.groups import group_rows
from vision_batch.ledger.members import load_members
from vision_batch.ledger.plan import Plan
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.uri import relative_to


class Pages:
    """A format for tests: a .pages file holds as many shards as its size modulo 3."""

    grouped = False
    extensions = ("pages",)

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.refused: set[str] = set()

    def is_member(self, uri: str) -> bool:
        return uri.endswith(".pages")

    def problems(self, settings: InputSettings) -> list[Any]:
        return []

    def extra_fields(self, shard: Shard, settings: InputSettings) -> list[Any]:
        return []

    def cut(self, file: ObjectInfo, root: str, input_name: str, settings: InputSettings) -> list[Shard]:
        self.opened.append(file.uri)
        name = relative_to(file.uri, root)
        if name in self.refused:
            raise ForbiddenError(file.uri, "no permission")
        return [
            Shard(key=f"{name}#{page}", input_name=input_name, root=root, format="pages", files=(file,), rows=page + 1)
            for page in range(file.size_bytes % 3)
        ]

    def read(self, shard: Shard, settings: InputSettings, wanted: Callable[[int], bool]) -> Iterator[Any]:
        raise AssertionError("planning reads no rows")


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Pages:
    format = Pages()
    monkeypatch.setitem(FORMATS, "pages", format)
    return format


def files_of(output: Output, plan: Plan) -> list[ObjectInfo]:
    return [file for shard in plan.shards for file in load_members(output.paths, shard).files]


def uris(output: Output, plan: Plan) -> list[str]:
    return [file.uri for file in files_of(output, plan)]


def segments(output: Output) -> list[str]:
    return sorted(path.name for path in Path(output.paths.plan).glob("*.plan"))


def test_files_are_grouped_in_listing_order_and_others_ignored(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=10)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    plan = output.plan()
    assert [(shard.key, shard.rows) for shard in plan.shards] == [
        ("files-000001", 4),
        ("files-000002", 4),
        ("files-000003", 2),
    ]
    assert uris(output, plan) == sorted(uris(output, plan))
    assert (plan.ignored, plan.ignored_examples, plan.added) == (1, ("notes.txt",), 3)


def test_planning_again_writes_nothing_and_gives_the_same(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    first = output.plan()
    assert replace(output.plan(), added=first.added, new=first.new) == first
    assert segments(output) == ["000001.plan"]


def test_planning_without_writing_says_what_would_be_planned(tmp_path: Path) -> None:
    output = new_output(tmp_path)
    assert output.plan(write=False).shards == output.plan(write=False).shards
    assert not Path(output.paths.plan).exists()
    assert output.plan(write=False) == output.plan()


def test_new_groups_grow_so_that_small_inputs_spread_and_large_ones_need_few() -> None:
    sizes = [group_rows(index, 4096) for index in range(200)]
    assert sizes[:17] == [64] * 16 + [128]
    assert sizes == sorted(sizes)
    assert sizes[-1] == group_rows(10**9, 4096) == 4096
    assert group_rows(0, 10) == 10


files = st.sampled_from([f"{folder}{name}.jpg" for folder in ("", "a/", "ä b/") for name in "abcdef"])
steps = st.lists(st.dictionaries(files, st.sampled_from(["write", "remove"]), max_size=8), min_size=1, max_size=6)


@settings(max_examples=25)
@given(steps)
def test_groups_never_regroup_and_every_file_is_in_exactly_one(history: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = new_output(Path(folder), images=1)
        members: dict[str, list[str]] = {}
        for number, step in enumerate(history):
            _apply(Path(folder, "in"), step, number)
            proposed = output.plan(write=False)
            plan = output.plan()
            assert plan == proposed
            assert output.plan().added == 0
            for shard in plan.shards:
                files = [file.uri for file in load_members(output.paths, shard).files]
                assert members.setdefault(shard.key, files) == files
            planned = {file.uri: file for file in files_of(output, plan)}
            live = {uri: file for uri, file in planned.items() if file.version != PRUNED}
            assert len(planned) == len(files_of(output, plan))
            assert len(live) == sum(shard.rows or 0 for shard in plan.shards)
            assert all(shard.files == () for shard in plan.shards), "the driver holds no file"
            present = {str(path): path for path in Path(folder, "in").rglob("*.jpg")}
            assert present.keys() == live.keys(), "what left has no row that could be kept"
            assert all(live[uri].size_bytes == path.stat().st_size for uri, path in present.items())


def _apply(folder: Path, step: dict[str, str], number: int) -> None:
    for name, what in step.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if what == "write":
            path.write_bytes(bytes(number + 1))
        else:
            path.unlink(missing_ok=True)


@settings(max_examples=25)
@given(steps)
def test_files_of_many_images_are_opened_once_per_version(history: list[dict[str, str]]) -> None:
    format = Pages()
    FORMATS["pages"] = format
    try:
        with tempfile.TemporaryDirectory() as folder:
            output = replace(new_output(Path(folder), images=0), format="pages")
            Path(folder, "in", "always.pages").write_bytes(b"x")
            ever: set[str] = set()
            for number, step in enumerate(history):
                _apply(Path(folder, "in"), {f"{name}.pages": what for name, what in step.items()}, number)
                source = Path(folder, "in")
                present = {path.relative_to(source): path.stat().st_size for path in source.rglob("*.pages")}
                plan = output.plan()
                keys = {f"{path}#{page}" for path, size in present.items() for page in range(size % 3)}
                planned = {shard.key for shard in plan.shards}
                ever |= planned
                assert planned == keys
                assert not planned & (plan.superseded.keys() | plan.gone)
                assert planned | plan.superseded.keys() | plan.gone == ever
                format.opened.clear()
                assert output.plan().added == 0
                assert format.opened == []
    finally:
        del FORMATS["pages"]


def test_a_changed_file_is_cut_again_and_its_other_keys_are_superseded(tmp_path: Path, pages: Pages) -> None:
    output = replace(new_output(tmp_path, images=0), format="pages")
    file, other = tmp_path / "in" / "a.pages", tmp_path / "in" / "b.pages"
    file.write_bytes(b"12")
    other.write_bytes(b"1")
    before = output.plan()
    assert [shard.key for shard in before.shards] == ["a.pages#0", "a.pages#1", "b.pages#0"]
    file.write_bytes(b"1234")
    pages.opened.clear()
    plan = output.plan()
    assert [shard.key for shard in plan.shards] == ["a.pages#0", "b.pages#0"]
    assert plan.shards[0].version != before.shards[0].version
    assert plan.superseded == {"a.pages#1": str(file)}
    assert pages.opened == [str(file)]
    assert output.plan().superseded == {"a.pages#1": str(file)}
    file.write_bytes(b"12345")
    assert output.plan().superseded == {}


def test_a_removed_file_is_gone_until_it_comes_back(tmp_path: Path, pages: Pages) -> None:
    output = replace(new_output(tmp_path, images=0), format="pages")
    file, other = tmp_path / "in" / "a.pages", tmp_path / "in" / "b.pages"
    for path in (file, other):
        path.write_bytes(b"1")
    both = output.plan().shards
    file.rename(tmp_path / "away")
    plan = output.plan()
    assert (plan.gone, plan.removed, [shard.key for shard in plan.shards]) == ({"a.pages#0"}, 1, ["b.pages#0"])
    assert "1 file no longer in the input" in plan.warnings[0]
    assert len(segments(output)) == 2
    assert output.plan().gone == plan.gone
    assert len(segments(output)) == 2
    (tmp_path / "away").rename(file)
    pages.opened.clear()
    assert (output.plan().shards, pages.opened) == (both, [])
    assert output.plan().gone == frozenset()


def test_a_file_that_cannot_be_looked_into_is_said_and_the_others_planned(tmp_path: Path, pages: Pages) -> None:
    output = replace(new_output(tmp_path, images=0), format="pages")
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.pages").write_bytes(b"1")
    pages.refused = {"a.pages"}
    plan = output.plan()
    assert [shard.key for shard in plan.shards] == ["b.pages#0"]
    assert plan.unread == (f"{tmp_path}/in/a.pages: no permission",)
    pages.refused = set()
    assert [shard.key for shard in output.plan().shards] == ["a.pages#0", "b.pages#0"]


def test_a_file_in_several_inputs_is_planned_once(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=3)
    output = with_input(output, [str(tmp_path / "in"), str(tmp_path / "in" / "00001.jpg")])
    plan = output.plan()
    assert len(uris(output, plan)) == 3
    assert plan.duplicates == 1
    assert plan.warnings == ("1 file in several inputs; each is read once",)


def test_groups_of_several_inputs_do_not_mix(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=3)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.jpg").write_bytes(b"x")
    plan = with_input(output, [str(tmp_path / "in"), str(tmp_path / "more")]).plan()
    assert [(shard.key, shard.rows) for shard in plan.shards] == [("0/files-000001", 3), ("1/files-000001", 1)]


def test_odd_names_survive_planning(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=0)
    names = ["with space.jpg", "ü.jpg", "x" * 200 + ".jpg", os.fsdecode(b"caf\xe9.jpg"), "%41#?.jpg"]
    for name in names:
        (tmp_path / "in" / name).write_bytes(b"x")
    output.plan()
    assert sorted(Path(uri).name for uri in uris(output, output.plan())) == sorted(names)
    assert output.plan().added == 0


def test_two_files_whose_printed_names_are_one_are_refused(tmp_path: Path) -> None:
    output = replace(new_output(tmp_path, images=0), format="webdataset")
    for name in (os.fsdecode(b"caf\xe9.tar"), "caf\\xe9.tar"):
        (tmp_path / "in" / name).write_bytes(b"x")
    with pytest.raises(SpecError, match="which both become"):
        output.plan()


@pytest.mark.parametrize("others", [0, 3])
def test_no_images_at_all_is_refused(tmp_path: Path, others: int) -> None:
    output = new_output(tmp_path, images=0)
    for index in range(others):
        (tmp_path / "in" / f"{index}.txt").write_text("")
    expected = (
        r"\(3 files of other kinds: 0.txt, 1.txt, 2.txt\); expected .* ends in .jpg or"
        if others
        else "no folder images in"
    )
    with pytest.raises(SpecError, match=expected):
        output.plan()
    assert segments(output) == []


def test_files_without_any_row_are_refused(tmp_path: Path, pages: Pages) -> None:
    output = replace(new_output(tmp_path, images=0), format="pages")
    (tmp_path / "in" / "a.pages").write_bytes(b"123")
    with pytest.raises(SpecError, match="no rows in 1 file"):
        output.plan()


def test_racing_planners_agree(tmp_path: Path) -> None:
    output = new_output(tmp_path, images=40)
    with ThreadPoolExecutor(6) as pool:
        plans = [future.result() for future in [pool.submit(output.plan) for _ in range(6)]]
    assert {plan.shards for plan in plans} == {output.plan().shards}
    assert segments(output) == ["000001.plan"]


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_a_damaged_plan_is_an_error_and_not_a_new_plan(tmp_path: Path, damage: str) -> None:
    output = new_output(tmp_path)
    output.plan()
    (tmp_path / "in" / "new.jpg").write_bytes(b"x")
    output.plan()
    first = Path(output.paths.segment(1))
    data = first.read_bytes()
    if damage == "missing":
        first.unlink()
    else:
        first.write_bytes(data[:-9] if damage == "cut" else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    with pytest.raises(LedgerError, match=r"segment of the plan .*restore it from a copy, or begin another output"):
        output.plan()


@pytest.mark.s3
def test_the_plan_of_an_s3_output_is_frozen_too(tmp_path: Path, moto_s3: S3Bucket) -> None:
    output = new_output(tmp_path, images=CELL_ROWS + 1, uri=f"{moto_s3.uri}/labels")
    first = output.plan()
    assert output.plan().shards == first.shards
    (tmp_path / "in" / "00000-new.jpg").write_bytes(b"x")
    assert output.plan().shards[:2] == first.shards
