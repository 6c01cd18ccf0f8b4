"""How things are named in the output."""

from __future__ import annotations

import os

import pytest

from vision_batch.datasets.naming import extension, has_extension, relative_name, shortened


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/d/a.JPG", "jpg"),
        ("/d/a.b.png", "png"),
        ("/d.x/a", ""),
        ("/d/.jpg", "jpg"),
        ("/d/a.", ""),
        ("s3://b/a.tar", "tar"),
    ],
)
def test_an_extension_follows_the_last_dot(uri: str, expected: str) -> None:
    assert extension(uri) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/d/a.JPG", True),
        ("/d/.a.jpg", True),
        ("/d/a.txt", False),
        ("/d/._a.jpg", False),
        ("._a.jpg", False),
        ("/._d/a.jpg", True),
    ],
)
def test_resource_forks_of_macos_are_no_images_whatever_their_extension(uri: str, expected: bool) -> None:
    assert has_extension(uri, ("jpg", "png")) == expected


def test_names_count_from_the_root_below_the_input() -> None:
    assert relative_name("/d/e/a b.jpg", "/d", "") == "e/a b.jpg"
    assert relative_name("s3://b/d/ü.jpg", "s3://b", "val") == "val/d/ü.jpg"


def test_names_that_are_not_utf_8_become_valid_and_stay_apart() -> None:
    uris = [os.fsdecode(b"/d/caf\xe9.jpg"), os.fsdecode(b"/d/caf\xe8.jpg")]
    assert [relative_name(uri, "/d", "") for uri in uris] == ["caf\\xe9.jpg", "caf\\xe8.jpg"]


def test_messages_stay_short() -> None:
    assert shortened("x" * 300) == "x" * 199 + "…"
    assert shortened("x" * 200) == "x" * 200
