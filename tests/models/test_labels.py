"""Class names from a list or a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.errors import SpecError
from vision_batch.models.labels import read_labels


def test_no_labels(tmp_path: Path) -> None:
    assert read_labels(None, tmp_path) is None


def test_a_list(tmp_path: Path) -> None:
    assert read_labels(["cat", "dog"], tmp_path) == ("cat", "dog")


def test_a_file_beside_the_spec_with_one_name_a_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("\ufeffcat\r\ndog, golden\r\nЖЖщ\r\n".encode())
    assert read_labels("names.txt", tmp_path) == ("cat", "dog, golden", "ЖЖщ")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "no names"),
        (["cat", " "], r"model.labels\[1\]: found an empty name"),
        (["cat", "dog", "cat"], "'cat' 2 times"),
    ],
)
def test_what_is_refused(tmp_path: Path, labels: list[str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_labels(labels, tmp_path)
    (tmp_path / "names.txt").write_text("".join(f"{label}\n" for label in labels))
    with pytest.raises(SpecError, match=words):
        read_labels("names.txt", tmp_path)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"model.labels: found .*names.txt"):
        read_labels("names.txt", tmp_path)
    (tmp_path / "names.txt").write_bytes(b"\xff\x00")
    with pytest.raises(SpecError, match="not UTF-8"):
        read_labels("names.txt", tmp_path)
