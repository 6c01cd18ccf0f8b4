"""Where the names in a Parquet file may lead."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.reading import settings_of
from vision_batch.datasets.references import Scope, fetched
from vision_batch.datasets.sample import MAX_IMAGE_BYTES, Sample
from vision_batch.datasets.shard import Shard
from vision_batch.errors import ImageError
from vision_batch.storage.object_info import ObjectInfo


def scope(file: str, root: str, *allow: str) -> Scope:
    info = ObjectInfo(uri=file, size_bytes=1, version="1")
    shard = Shard(key="k", input_name="", root=root, format="parquet", files=(info,))
    return Scope.of(shard, settings_of(root, allow=list(allow)))


def resolved(of: Scope, reference: str) -> str:
    """The URI, or the error's code."""
    try:
        return of.resolve(reference)
    except ImageError as error:
        return error.code


LOCAL = scope("/data/set/parts/x.parquet", "/data/set")
S3 = scope("s3://bucket/set/parts/x.parquet", "s3://bucket/set")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("a.jpg", "/data/set/parts/a.jpg"),
        ("a b ü%20.jpg", "/data/set/parts/a b ü%20.jpg"),
        ("./i//a.jpg", "/data/set/parts/i/a.jpg"),
        ("../i/a.jpg", "/data/set/i/a.jpg"),
        ("/data/set/i/a.jpg", "/data/set/i/a.jpg"),
        ("file:///data/set/a.jpg", "/data/set/a.jpg"),
        ("FILE:/data/set/a.jpg", "/data/set/a.jpg"),
        ("file://localhost/data/set/a.jpg", "/data/set/a.jpg"),
        ("file://a.jpg", "/data/set/parts/a.jpg"),
        ("../../set/a.jpg", "/data/set/a.jpg"),
        ("~/a.jpg", "/data/set/parts/~/a.jpg"),
        ("x/../../../../etc/passwd", "forbidden"),
        ("../../a.jpg", "forbidden"),
        ("../../settled/a.jpg", "forbidden"),
        ("/data/settled/a.jpg", "forbidden"),
        ("/data/set/../a.jpg", "forbidden"),
        ("//etc/passwd", "forbidden"),
        ("/etc/passwd", "forbidden"),
        ("file:///etc/passwd", "forbidden"),
        ("file:///data/set/../../etc/passwd", "forbidden"),
        ("s3://bucket/data/set/a.jpg", "forbidden"),
        ("http://169.254.169.254/latest/meta-data", "forbidden"),
        ("https://example.com/a.jpg?signature=secret", "forbidden"),
        ("gs://b/a.jpg", "forbidden"),
        ("", "missing"),
        ("%2e%2e/%2e%2e/a.jpg", "/data/set/parts/%2e%2e/%2e%2e/a.jpg"),  # nothing in a name is an escape
        ("..%2f..%2fa.jpg", "/data/set/parts/..%2f..%2fa.jpg"),
        ("..\\..\\a.jpg", "/data/set/parts/..\\..\\a.jpg"),
        ("FILE:///etc/passwd", "forbidden"),
        ("file:/etc/passwd", "forbidden"),
        ("file:etc/passwd", "/data/set/parts/file:etc/passwd"),
        ("file://example.com/etc/passwd", "/data/set/parts/example.com/etc/passwd"),
        ("file://LOCALHOST/etc/passwd", "/data/set/parts/LOCALHOST/etc/passwd"),
        ("HTTP://169.254.169.254/latest/meta-data", "forbidden"),
        ("http://[fd00:ec2::254]/latest/meta-data", "forbidden"),
        ("s3://169.254.169.254/latest/meta-data", "forbidden"),
        ("unix:///var/run/docker.sock", "forbidden"),
        ("data:image/png;base64,AA==", "/data/set/parts/data:image/png;base64,AA=="),
        ("..", "/data/set"),  # a folder: the storage finds no file there
        ("a\0.jpg", "missing"),
    ],
)
def test_names_in_a_local_file(reference: str, expected: str) -> None:
    assert resolved(LOCAL, reference) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("a.jpg", "s3://bucket/set/parts/a.jpg"),
        ("../i/a.jpg", "s3://bucket/set/i/a.jpg"),
        ("s3://bucket/set/a.jpg", "s3://bucket/set/a.jpg"),
        ("S3://bucket/set/a.jpg", "s3://bucket/set/a.jpg"),
        ("s3://bucket/set//a.jpg", "s3://bucket/set//a.jpg"),
        ("s3://bucket/set/../a.jpg", "forbidden"),
        ("../../../../../set/a.jpg", "s3://bucket/set/a.jpg"),
        ("../../../other/a.jpg", "forbidden"),
        ("s3://bucket/settled/a.jpg", "forbidden"),
        ("s3://bucket/set", "s3://bucket/set"),
        ("s3://bucket/set/%2e%2e/a.jpg", "s3://bucket/set/%2e%2e/a.jpg"),
        ("s3://bucket/set/a.jpg?versionId=1", "s3://bucket/set/a.jpg?versionId=1"),
        ("s3://BUCKET/set/a.jpg", "forbidden"),
        ("ü" * 507, f"s3://bucket/set/parts/{'ü' * 507}"),  # a key of 1,024 bytes
        ("ü" * 508, "missing"),
        ("s3://bucket@elsewhere/set/a.jpg", "forbidden"),
        ("s3:///set/a.jpg", "forbidden"),
        ("s3://arn:aws:s3:us-east-1:1:accesspoint/set/a.jpg", "forbidden"),
        ("s3://buckets/set/a.jpg", "forbidden"),
        ("s3://bucket", "forbidden"),
        ("/etc/passwd", "forbidden"),
        ("file:///etc/passwd", "forbidden"),
    ],
)
def test_names_in_a_file_on_s3(reference: str, expected: str) -> None:
    assert resolved(S3, reference) == expected


def test_input_allow_permits_more() -> None:
    wide = scope("/d/x.parquet", "/d", "s3://bucket/images/", "file:///pictures", "https://example.com/")
    assert resolved(wide, "s3://bucket/images/a.jpg") == "s3://bucket/images/a.jpg"
    assert resolved(wide, "/pictures/a.jpg") == "/pictures/a.jpg"
    assert resolved(wide, "a.jpg") == "/d/a.jpg"
    assert resolved(wide, "s3://bucket/images2/a.jpg") == "forbidden"
    assert resolved(wide, "/pictures/../a.jpg") == "forbidden"


def test_a_single_file_may_be_permitted() -> None:
    assert resolved(scope("/d/x.parquet", "/d", "/e/a.jpg"), "/e/a.jpg") == "/e/a.jpg"


def test_a_bucket_is_no_file() -> None:
    assert resolved(scope("/d/x.parquet", "/d", "s3://bucket/"), "s3://bucket") == "missing"


def test_what_is_permitted_but_not_read_here_is_unsupported() -> None:
    assert resolved(scope("/d/x.parquet", "/d", "https://example.com/"), "https://example.com/a.jpg") == "unsupported"


def test_messages_hold_neither_signatures_nor_passwords() -> None:
    with pytest.raises(ImageError) as caught:
        LOCAL.resolve("https://me:abcdef@example.com/a.jpg?X-Amz-Signature=abcdef")
    assert caught.value.message == "https://example.com/a.jpg leads out of the input; input.allow permits more"


def test_a_glob_over_the_whole_machine_opens_the_files_own_folder_only() -> None:
    of = scope("/data/x.parquet", "/")  # /*/x.parquet
    assert resolved(of, "a/b.jpg") == "/data/a/b.jpg"
    assert resolved(of, "/etc/passwd") == "forbidden"


def test_files_that_are_no_images_cost_a_row_each(tmp_path: Path) -> None:
    """Neither the reader nor its memory waits for what a hostile list names in its own folder."""
    (tmp_path / "a.jpg").write_bytes(b"image")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener, (tmp_path / "huge.jpg").open("wb") as huge:
        listener.bind(str(tmp_path / "socket.jpg"))
        huge.truncate(MAX_IMAGE_BYTES + 1)
        names = ["pipe.jpg", "socket.jpg", "huge.jpg", ".", "a.jpg/b", "n" * 5000, "a.jpg"]
        rows = [(Sample(row=row, image_id=name), str(tmp_path / name)) for row, name in enumerate(names)]
        outcomes = [sample.error.code if sample.error else sample.data for sample in fetched(rows)]
    assert outcomes == ["missing", "missing", "too_large", "missing", "missing", "missing", b"image"]


@given(st.lists(st.sampled_from(["..", ".", "", "a", "set", "etc", "file:", "s3:", "/", "data", "~"]), max_size=10))
def test_no_name_leads_out(parts: list[str]) -> None:
    for of, root in ((LOCAL, "/data/set/"), (S3, "s3://bucket/set/")):
        uri = resolved(of, "/".join(parts))
        assert uri in ("forbidden", "missing", "unsupported") or (
            f"{uri}/".startswith(root) and not {".", ".."} & set(uri.split("/"))
        )
