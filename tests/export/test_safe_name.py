"""Whatever an image is called, its file lies in the target and is its own."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.export.safe_name import MOST_NAME_BYTES, MOST_PART_BYTES, safe_name, safe_part

PIECES = [
    "a",
    "b.jpg",
    "..",
    ".",
    "/",
    "//",
    "%",
    "%2F",
    "%%",
    "con",
    "NUL.txt",
    "_export.json",
    "\\",
    ":",
    "\0",
    "é",
    " ",
]
NAMES = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=30) | st.text(min_size=300)


@pytest.mark.parametrize("name", ["cats/0007.jpg", "a b.JPEG", "日本/é.png", "x", "-.jpg", ".hidden.png", "conman.jpg"])
def test_ordinary_names_stay(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", ".%2E/.%2E/etc/passwd"),
        ("/etc/passwd", "%/etc/passwd"),
        ("C:\\x", "C%3A%5Cx"),
        ("nul.jpg", "%6Eul.jpg"),
        ("_errors.csv", "%5Ferrors.csv"),
        ("50%.png", "50%25.png"),
        ("a./b", "a%2E/b"),
        ("", "%"),
        ("é\n", "é%0A"),
    ],
)
def test_other_names_are_escaped(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_long_names_are_cut_and_stay_apart() -> None:
    first, second = ("x" * 5000 + end for end in ("1.jpg", "2.jpg"))
    assert safe_name(first) != safe_name(second)
    assert safe_name(first).startswith("xxx")
    assert safe_name(first).endswith(".jpg")
    assert len(safe_name("/".join("y" * 100 for _ in range(50)))) < 200


@given(NAMES)
def test_every_name_stays_below_the_target(name: str) -> None:
    safe = safe_name(name)
    parts = safe.split("/")
    assert not {"..", ".", ""} & set(parts)
    assert (PurePosixPath("/to") / safe).parts == ("/", "to", *parts)
    assert (PureWindowsPath("C:/to") / safe).parts == ("C:\\", "to", *parts)
    assert not any(part.partition(".")[0].upper() in ("CON", "NUL", "AUX", "COM1") for part in parts)
    assert len(safe.encode()) <= MOST_NAME_BYTES
    assert all(len(part.encode()) <= MOST_PART_BYTES for part in safe.split("/"))
    assert "/" not in safe_part(name)


@given(NAMES, NAMES)
def test_different_names_stay_different(first: str, second: str) -> None:
    assert (safe_name(first) == safe_name(second)) == (first == second)
    assert (safe_part(first) == safe_part(second)) == (first == second)
