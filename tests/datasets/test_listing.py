"""What an input names."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.datasets.listing import list_input, list_inputs
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import NotFoundError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b/1.jpg", "b/2.jpg", "b.jpg", "c/d/e.jpg", "c/x [1].jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(uri: Path | str) -> list[str]:
    listing = list_input(str(uri))
    return [info.uri.removeprefix(f"{listing.root}/") for info in listing]


def test_a_folder_is_listed_recursively_in_byte_order(folder: Path) -> None:
    assert names(folder) == ["a.jpg", "b.jpg", "b/1.jpg", "b/2.jpg", "c/d/e.jpg", "c/x [1].jpg"]
    assert list_input(f"{folder}/").root == str(folder)


def test_a_file_is_itself_and_counts_from_its_folder(folder: Path) -> None:
    listing = list_input(str(folder / "b/1.jpg"))
    assert (listing.root, names(folder / "b/1.jpg")) == (str(folder / "b"), ["1.jpg"])


def test_a_pattern_counts_from_its_plain_beginning(folder: Path) -> None:
    listing = list_input(f"{folder}/*/*.jpg")
    assert listing.root == str(folder)
    assert names(f"{folder}/*/*.jpg") == ["b/1.jpg", "b/2.jpg", "c/x [1].jpg"]
    assert names(f"{folder}/**/{{1,e}}.jpg") == ["b/1.jpg", "c/d/e.jpg"]
    assert names(f"{folder}/c/x [[]1].jpg") == ["x [1].jpg"]


@pytest.mark.parametrize("uri", ["nowhere", "nowhere/", "nowhere/*.jpg", "*.tar"])
def test_what_is_not_there_is_not_found(folder: Path, uri: str) -> None:
    with pytest.raises(NotFoundError):
        list(list_input(f"{folder}/{uri}"))


def test_each_iteration_lists_anew(folder: Path) -> None:
    listing = list_input(str(folder / "b"))
    assert len(list(listing)) == 2
    (folder / "b/3.jpg").write_bytes(b"x")
    assert len(list(listing)) == 3


class TestSeveralInputs:
    def inputs(self, *uris: str) -> list[list[str]]:
        return [[info.uri for info in listing] for listing in list_inputs(InputSettings(uri=list(uris)))]

    @pytest.mark.parametrize("again", ["b", "b/", "b/1.jpg", "b/*.jpg", "**/[12].jpg"])
    def test_what_an_earlier_input_holds_is_read_once(self, folder: Path, again: str) -> None:
        first, second = self.inputs(f"{folder}/b", f"{folder}/{again}")
        assert len(first) == 2
        assert second == []

    def test_a_wider_input_gives_only_what_is_new(self, folder: Path) -> None:
        first, second = self.inputs(f"{folder}/b/*.jpg", str(folder))
        assert len(first) == 2
        assert len(second) == 4
        assert not set(first) & set(second)

    def test_folders_whose_names_begin_alike_do_not_overlap(self, tmp_path: Path) -> None:
        for name in ("a", "ab"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "1.jpg").write_bytes(b"x")
        assert [len(uris) for uris in self.inputs(f"{tmp_path}/a", f"{tmp_path}/ab")] == [1, 1]

    def test_what_was_left_out_is_counted(self, folder: Path) -> None:
        listing = list_inputs(InputSettings(uri=[f"{folder}/b", str(folder)]))[1]
        list(listing)
        list(listing)
        assert listing.repeated == 2
