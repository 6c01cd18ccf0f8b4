"""Masks that are listed once, and other ones that are noticed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import S3Bucket
from vision_batch.errors import LedgerError, SpecError
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join
from vision_batch.training import mask_files
from vision_batch.training.mask_files import list_masks, store_masks, stored_masks
from vision_batch.training.same_files import demand_same_files


def file(name: str, version: str = "1") -> ObjectInfo:
    return ObjectInfo(uri=f"/masks/{name}.png", size_bytes=9, version=version)


def said_of(before: Sequence[ObjectInfo], now: Sequence[ObjectInfo]) -> str:
    with pytest.raises(SpecError) as refused:
        demand_same_files(before, now, "input.masks", "the masks")
    (problem,) = refused.value.problems
    assert problem.where == "input.masks"
    return problem.found


@pytest.mark.parametrize("folder", ["local", "s3"])
def test_what_is_stored_is_what_was_listed(
    folder: str, tmp_path: Path, moto_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_files, "OBJECT_MASKS", 2)
    root = str(tmp_path) if folder == "local" else moto_s3.uri
    masks, paths = join(root, "masks"), LedgerPaths(join(root, "out"))
    for name in ("b/1.png", "a.png", "b/2.png", "b.png", "c.png", "notes.txt"):
        storage_for(masks).put(join(masks, name), name.encode())
    listed = list(list_masks(masks))
    assert [info.uri.removeprefix(f"{masks}/") for info in listed] == ["a.png", "b.png", "b/1.png", "b/2.png", "c.png"]
    digests = store_masks(paths, listed, masks)
    assert len(digests) == 3
    assert list(stored_masks(paths, digests, masks)) == listed
    demand_same_files(stored_masks(paths, digests, masks), list_masks(masks), "input.masks", "the masks")


def test_each_difference_is_named() -> None:
    before, now = [file("a"), file("b"), file("d")], [file("a"), file("b", "2"), file("c")]
    assert said_of(before, now) == ("/masks/b.png is changed, /masks/c.png is new, /masks/d.png is gone")


def test_of_many_differences_some_are_named() -> None:
    assert said_of([file(f"{n:04d}") for n in range(2000)], []).endswith("0004.png is gone …; in all 2,000 gone")


VERSIONS = st.dictionaries(st.text("ab.-/", min_size=1), st.sampled_from("12"))


@given(before=VERSIONS, now=VERSIONS)
def test_only_the_same_names_and_versions_are_the_same(before: dict[str, str], now: dict[str, str]) -> None:
    listings = [[file(name, version) for name, version in sides.items()] for sides in (before, now)]
    old, new = (sorted(listing, key=lambda info: info.uri) for listing in listings)
    if before == now:
        demand_same_files(old, new, "input.masks", "the masks")
    else:
        said_of(old, new)


@pytest.mark.parametrize("harm", ["gone", "other"])
def test_a_list_that_is_lost_or_damaged_is_no_list(harm: str, tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    digests = store_masks(paths, [file("a"), file("b")], "/masks")
    (stored,) = Path(paths.catalogue).iterdir()
    if harm == "gone":
        stored.unlink()
    else:
        store_masks(paths, [file("a"), file("b", "2")], "/masks")
    with pytest.raises(LedgerError, match="masks-000000"):
        list(stored_masks(paths, digests, "/masks"))
