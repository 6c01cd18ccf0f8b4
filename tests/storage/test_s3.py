from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import S3Bucket
from vision_batch.errors import ForbiddenError, NotFoundError, SpecError, StorageError
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import forget_s3, local_storage, s3_storage, storage_for
from vision_batch.storage.uri import join

pytestmark = pytest.mark.s3


def test_a_listing_goes_through_all_pages(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.storage.s3.PAGE_KEYS", 10)
    storage = storage_for(s3.uri)
    names = [f"{number:02d} +%é" for number in range(45)]
    with ThreadPoolExecutor(8) as pool:
        infos = list(pool.map(lambda name: storage.put(join(s3.uri, name), b""), names))
    assert list(storage.list(s3.uri)) == infos


def test_folder_markers_are_left_out(s3: S3Bucket) -> None:
    client = s3.server.client()
    for key in ("images/", "images/a.jpg", "images/b/"):
        client.put_object(Bucket=s3.bucket, Key=key, Body=b"")
    client.put_object(Bucket=s3.bucket, Key="images/odd/", Body=b"an object all the same")
    client.close()
    found = [info.uri for info in storage_for(s3.uri).list(join(s3.uri, "images"))]
    assert found == [join(s3.uri, "images/a.jpg"), join(s3.uri, "images/odd/")]


def test_an_empty_prefix_is_empty_and_a_missing_bucket_is_not_found(s3: S3Bucket) -> None:
    storage = storage_for(s3.uri)
    storage.put(join(s3.uri, "ab/c"), b"")
    assert list(storage.list(join(s3.uri, "a"))) == []
    for verb in (lambda uri: list(storage.list(uri)), storage.stat, storage.read):
        with pytest.raises(NotFoundError):
            verb("s3://no-such-bucket-here/a")
    with pytest.raises(NotFoundError):
        storage.put("s3://no-such-bucket-here/a", b"")


@pytest.mark.parametrize("uri", ["s3://Not A Bucket/key", "s3://bucket", f"s3://bucket/{'x' * 1100}"])
def test_a_name_that_no_object_can_have_is_not_found(rgw_s3: S3Bucket, uri: str) -> None:
    with pytest.raises(NotFoundError):
        storage_for(uri).read(uri.replace("s3://bucket", rgw_s3.uri))


def test_wrong_credentials_are_forbidden(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    storage_for(s3.uri).put(join(s3.uri, "x"), b"")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-secret")
    forget_s3()
    storage = storage_for(s3.uri)
    for verb in (lambda uri: storage.list(uri), storage.stat, storage.read, lambda uri: storage.put(uri, b"")):
        with pytest.raises(ForbiddenError) as caught:
            verb(join(s3.uri, "x"))
        assert "wrong-and-secret" not in str(caught.value)
    (error,) = storage.read_many([ReadRequest(uri=join(s3.uri, "x"))])
    assert isinstance(error, ForbiddenError)


def test_no_credentials_say_what_to_set(rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_s3()
    with pytest.raises(ForbiddenError, match="AWS_ACCESS_KEY_ID"):
        storage_for(rgw_s3.uri).read(join(rgw_s3.uri, "x"))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    forget_s3()
    with pytest.raises(ForbiddenError, match="nobody"):
        storage_for(rgw_s3.uri).read(join(rgw_s3.uri, "x"))


def test_what_does_not_fit_into_one_request_is_refused_before_it_is_sent(rgw_s3: S3Bucket) -> None:
    huge = bytes((5 << 30) + 1)  # the system gives such zeros without using memory
    with pytest.raises(StorageError, match=r"5,368,709,121 bytes.*at most 5,368,709,120.*one PUT"):
        storage_for(rgw_s3.uri).put(join(rgw_s3.uri, "x"), huge, if_absent=True)


def test_the_endpoint_for_s3_alone_comes_first(rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", rgw_s3.server.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    forget_s3()
    assert list(storage_for(rgw_s3.uri).list(rgw_s3.uri)) == []


def test_no_region_is_needed(rgw_s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    forget_s3()
    assert list(storage_for(rgw_s3.uri).list(rgw_s3.uri)) == []


def test_a_closed_storage_opens_again(rgw_s3: S3Bucket) -> None:
    storage = s3_storage()
    info = storage.put(join(rgw_s3.uri, "x"), b"data")
    storage.close()
    assert storage.read(info.uri) == b"data"


def test_every_scheme_has_one_storage() -> None:
    assert storage_for("/data") is storage_for("/other") is local_storage()
    assert storage_for("s3://a") is storage_for("s3://b/c")
    with pytest.raises(SpecError, match="gs://"):
        storage_for("gs://bucket")
    forget_s3()


def test_local_paths_need_no_s3_library() -> None:
    code = (
        "import sys, vision_batch.storage.table as t; t.storage_for('/data').close();"
        "heavy = {'s3fs', 'botocore', 'aiohttp', 'pyarrow', 'torch', 'ray'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
