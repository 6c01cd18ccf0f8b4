"""Which format an input has."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.datasets import detect as detect_module
from vision_batch.datasets.detect import detect_format
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import NotFoundError, SpecError


def fill(folder: Path, *names: str) -> InputSettings:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return InputSettings(uri=str(folder))


@pytest.mark.parametrize(
    ("names", "format"),
    [
        (["a.txt", "b/c.JPG"], "folder"),
        (["a-0.tar", "a-1.tar", "index.json"], "webdataset"),
        (["part.parquet", "_SUCCESS"], "parquet"),
        (["part.pq"], "parquet"),
    ],
)
def test_extensions_decide(tmp_path: Path, names: list[str], format: str) -> None:
    assert detect_format(fill(tmp_path, *names)) == format


@pytest.mark.parametrize("name", ["x.tar", "x.parquet", "x.png"])
def test_one_file_is_enough(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "a.jpg", name)
    expected = {"tar": "webdataset", "parquet": "parquet", "png": "folder"}[name[2:]]
    assert detect_format(InputSettings(uri=str(tmp_path / name))) == expected
    assert detect_format(InputSettings(uri=f"{tmp_path}/x*")) == expected


def test_a_mixture_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        detect_format(fill(tmp_path, "a.jpg", "b.tar"))
    assert "folder" in str(caught.value)
    assert "webdataset" in str(caught.value)
    assert caught.value.problems[0].where == "input.format"


def test_a_mixture_of_inputs_is_not_guessed(tmp_path: Path) -> None:
    fill(tmp_path, "x/a.jpg", "y/b.tar")
    with pytest.raises(SpecError):
        detect_format(InputSettings(uri=[f"{tmp_path}/x", f"{tmp_path}/y"]))


def test_a_named_format_is_taken_from_a_mixture(tmp_path: Path) -> None:
    settings = fill(tmp_path, "a.jpg", "b.tar")
    assert detect_format(settings.model_copy(update={"format": "webdataset"})) == "webdataset"


def test_nothing_usable_says_what_was_seen(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        detect_format(fill(tmp_path, "a.txt", "b.txt", "c.gif", "LICENSE"))
    assert "2 .txt, 1 without extension, 1 .gif" in str(caught.value)
    assert ".webp" in str(caught.value)


def test_nothing_of_the_named_format_says_what_was_seen(tmp_path: Path) -> None:
    settings = fill(tmp_path, "a.jpg").model_copy(update={"format": "parquet"})
    with pytest.raises(SpecError, match=r"1 \.jpg; expected parquet: \.parquet \.pq"):
        detect_format(settings)


def test_an_empty_folder_is_a_spec_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no files"):
        detect_format(InputSettings(uri=str(tmp_path)))


def test_no_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        detect_format(InputSettings(uri=str(tmp_path / "nowhere")))


def test_only_the_beginning_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect_module, "OBJECTS_LOOKED_AT", 3)
    settings = fill(tmp_path, "a.txt", "b.jpg", "c.jpg", "d.tar")
    assert detect_format(settings) == "folder"
    assert detect_format(settings.model_copy(update={"format": "webdataset"})) == "webdataset"
