"""The formats on a real S3 server: the same rules where files are objects."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.datasets.archives import written
from tests.datasets.reading import everything, format_of, outcome, samples_of, settings_of, shards_of
from vision_batch.datasets.detect import detect_format
from vision_batch.errors import ChangedError, SpecError, StorageError
from vision_batch.storage.table import storage_for

pytestmark = pytest.mark.s3


def put(bucket: S3Bucket, name: str, data: bytes) -> str:
    uri = f"{bucket.uri}/{name}"
    storage_for(uri).put(uri, data)
    return uri


def parquet(columns: dict[str, object]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def test_a_folder(moto_s3: S3Bucket) -> None:
    for name in ("d/a b.jpg", "d/ü/1.png", "d/x.txt", "e/1.jpg"):
        put(moto_s3, name, name.encode())
    settings = settings_of(f"{moto_s3.uri}/d", label_column="folder")
    samples = samples_of(settings)
    assert [(s.image_id, outcome(s), s.truth) for s in samples] == [
        ("a b.jpg", b"d/a b.jpg", "d"),
        ("ü/1.png", "d/ü/1.png".encode(), "ü"),
    ]
    assert [s.image_id for s in samples_of(settings_of(f"{moto_s3.uri}/*/1.jpg"))] == ["e/1.jpg"]


def test_tars(moto_s3: S3Bucket) -> None:
    for index in range(3):
        put(moto_s3, f"t/{index}.tar", written([(f"{row}.jpg", b"x" * 1000) for row in range(index)]))
    samples = samples_of(settings_of(f"{moto_s3.uri}/t/{{0..2}}.tar"))
    assert [sample.image_id for sample in samples] == ["1/0", "2/0", "2/1"]


def test_parquet_that_names_images(moto_s3: S3Bucket) -> None:
    put(moto_s3, "set/i/1.jpg", b"A")
    names = ["../i/1.jpg", f"{moto_s3.uri}/set/i/1.jpg", "../i/2.jpg", "../../other/1.jpg", "/etc/passwd", None]
    put(moto_s3, "set/p/x.parquet", parquet({"image": names}))
    outcomes = [outcome(sample) for sample in samples_of(settings_of(f"{moto_s3.uri}/set/", format="parquet"))]
    assert outcomes == [b"A", b"A", "missing", "forbidden", "forbidden", "missing"]


@pytest.mark.parametrize("name", ["x.tar", "x.parquet", "x.jpg"])
def test_an_object_that_changes_stops_the_shard(moto_s3: S3Bucket, name: str) -> None:
    first = {"tar": written([("0.jpg", b"A")]), "parquet": parquet({"image": [b"A"]}), "jpg": b"A"}[name[2:]]
    second = {"tar": written([("0.jpg", b"B")]), "parquet": parquet({"image": [b"B"]}), "jpg": b"B"}[name[2:]]
    settings = settings_of(put(moto_s3, name, first))
    (shard,) = shards_of(settings)
    put(moto_s3, name, second)
    with pytest.raises(ChangedError):
        list(format_of(shard).read(shard, settings, everything))


def test_nothing_there(moto_s3: S3Bucket) -> None:
    for uri in (f"{moto_s3.uri}/nowhere", f"{moto_s3.uri}/nowhere/*.jpg", f"{moto_s3.uri}-not/x"):
        with pytest.raises((SpecError, StorageError)):
            detect_format(settings_of(uri))
