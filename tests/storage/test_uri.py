from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.errors import SpecError
from vision_batch.storage import uri

BASE = Path("/specs")


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("images", "/specs/images"),
        ("../images/", "/images"),
        ("/data//images/./x", "/data/images/x"),
        ("file:///data/images/", "/data/images"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a b/%20#?/", "s3://bucket/a b/%20#?"),
        ("s3://bucket/a/../b", "s3://bucket/a/../b"),
        ("/", "/"),
    ],
)
def test_uris_have_one_normal_form(given: str, normal: str) -> None:
    assert uri.normalise(given, BASE) == normal
    assert uri.normalise(normal, BASE) == normal


@pytest.mark.parametrize("given", ["http://host/images", "gs://bucket/images", "s3:///key"])
def test_what_cannot_be_reached_is_refused_with_what_could(given: str) -> None:
    with pytest.raises(SpecError, match="s3://"):
        uri.normalise(given, BASE)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://me:password@host:80/a@b/c.jpg", "https://host:80/a@b/c.jpg"),
        ("https://me:pass?wo#rd@host", "https://host"),
        ("https://host/a.jpg?X-Amz-Signature=abc#d", "https://host/a.jpg"),
        ("https://host/a.jpg#access_token=abc", "https://host/a.jpg"),
        ("s3://bucket/a@b?c#d", "s3://bucket/a@b?c#d"),
        ("/data/me:x@y?z", "/data/me:x@y?z"),
    ],
)
def test_messages_show_no_credentials(given: str, shown: str) -> None:
    assert uri.shown(given) == shown
    if given != shown:
        with pytest.raises(SpecError) as caught:
            uri.normalise(given, BASE)
        assert caught.value.problems[0].where == shown


def test_home_is_expanded() -> None:
    assert uri.normalise("~/images", BASE) == str(Path.home() / "images")


@pytest.mark.parametrize(
    ("whole", "folder", "last"),
    [
        ("/a/b.tar", "/a", "b.tar"),
        ("/a", "/", "a"),
        ("/", "/", ""),
        ("s3://bucket/a/b.tar", "s3://bucket/a", "b.tar"),
        ("s3://bucket/a", "s3://bucket", "a"),
        ("s3://bucket", "s3://bucket", ""),
    ],
)
def test_a_uri_is_its_parent_and_its_name(whole: str, folder: str, last: str) -> None:
    assert uri.parent(whole) == folder
    assert uri.name(whole) == last
    if last:
        assert uri.join(folder, last) == whole
        assert uri.relative_to(whole, folder) == last


def test_joining_adds_one_slash_each() -> None:
    assert uri.join("s3://bucket", "a", "b/c") == "s3://bucket/a/b/c"
    assert uri.join("/data/", "a") == "/data/a"
    assert uri.join("/data") == "/data"


def test_only_what_is_inside_has_a_relative_name() -> None:
    assert uri.relative_to("s3://bucket/a//b", "s3://bucket/a") == "/b"
    assert uri.relative_to("/a", "/a") == ""
    with pytest.raises(ValueError, match="not inside"):
        uri.relative_to("/ab/c", "/a")
    assert uri.is_inside("/a/b", "/a")
    assert uri.is_inside("/a", "/a")
    assert not uri.is_inside("/ab", "/a")
    assert uri.is_inside("s3://bucket/a", "s3://bucket")


def test_globs_are_known_by_their_characters() -> None:
    assert uri.is_glob("s3://bucket/*.tar")
    assert uri.is_glob("/data/part-?[0-9]")
    assert not uri.is_glob("/data/part-0")


def test_schemes() -> None:
    assert uri.scheme("s3://bucket") == "s3"
    assert uri.scheme("/data/x") == ""
    assert uri.bucket_and_key("s3://bucket/a/b") == ("bucket", "a/b")
    assert uri.bucket_and_key("s3://bucket") == ("bucket", "")
