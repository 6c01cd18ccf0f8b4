from __future__ import annotations

import io
import random
import tarfile
from concurrent.futures import Future
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import S3Bucket
from vision_batch.errors import ChangedError, UnavailableError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.reader import AHEAD_BLOCKS, BUFFER_BYTES, FIRST_AHEAD_BYTES, open_reader
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join


@dataclass
class Remote:
    """An object in memory that remembers which ranges were asked for."""

    data: bytes
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def info(self) -> ObjectInfo:
        return ObjectInfo(uri="s3://bucket/object", size_bytes=len(self.data), version="1")

    @property
    def fetched_bytes(self) -> int:
        return sum(stop - start for start, stop in self.ranges)

    def fetch(self, start: int, stop: int) -> Future[bytes]:
        self.ranges.append((start, stop))
        future: Future[bytes] = Future()
        future.set_result(self.data[start:stop])
        return future


def noise(size_bytes: int) -> bytes:
    return random.Random(size_bytes).randbytes(size_bytes)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 4000)),
        st.tuples(st.just("seek"), st.integers(0, 11_000)),
        st.tuples(st.just("skip"), st.integers(-3000, 3000)),
        st.tuples(st.just("rest"), st.just(0)),
    ),
    max_size=30,
)


@given(size=st.integers(0, 10_000), block_bytes=st.integers(1, 3000), operations=OPERATIONS)
def test_any_reads_and_seeks_give_what_a_file_gives(
    size: int, block_bytes: int, operations: list[tuple[str, int]]
) -> None:
    data = noise(size)
    expected, found = io.BytesIO(data), open_reader(Remote(data).info, Remote(data).fetch, block_bytes=block_bytes)
    for kind, amount in operations:
        if kind == "read":
            assert found.read(amount) == expected.read(amount)
        elif kind == "rest":
            assert found.read() == expected.read()
        else:
            place = amount if kind == "seek" else max(0, expected.tell() + amount)
            assert found.seek(place) == expected.seek(place)
        assert found.tell() == expected.tell()


def test_reading_through_fetches_every_byte_once_in_growing_pieces() -> None:
    remote = Remote(noise(1 << 20))
    file = open_reader(remote.info, remote.fetch, block_bytes=64 << 10)
    while file.read(1000):
        pass
    assert [start for start, _ in remote.ranges] == [0, *(stop for _, stop in remote.ranges[:-1])]
    assert remote.fetched_bytes == len(remote.data)


def test_reading_on_keeps_several_blocks_in_flight_and_no_more() -> None:
    remote = Remote(noise(4 << 20))
    block_bytes = 128 << 10
    file = open_reader(remote.info, remote.fetch, block_bytes=block_bytes)
    most = 0
    while file.read(10_000):
        most = max(most, remote.fetched_bytes - file.tell())
    assert 2 * block_bytes < most <= (AHEAD_BLOCKS + 1) * block_bytes


def test_a_large_read_keeps_several_blocks_in_flight_and_no_more() -> None:
    remote = Remote(noise(4 << 20))
    block_bytes = 128 << 10
    pending: list[Future[bytes]] = []
    most = 0

    def fetch(start: int, stop: int) -> Future[bytes]:
        nonlocal most
        pending.append(remote.fetch(start, stop))
        most = max(most, remote.fetched_bytes - raw_position())
        return pending[-1]

    file = open_reader(remote.info, fetch, block_bytes=block_bytes)
    raw_position = file.raw.tell  # type: ignore[attr-defined]
    assert file.read() == remote.data
    assert most <= (AHEAD_BLOCKS + 1) * block_bytes


def test_jumps_fetch_little_more_than_was_asked_for() -> None:
    remote = Remote(noise(20 << 20))
    file = open_reader(remote.info, remote.fetch)
    for place in (19 << 20, 3 << 20, 11 << 20, 100, 7 << 20):
        file.seek(place)
        assert file.read(100) == remote.data[place : place + 100]
    assert remote.fetched_bytes <= 5 * BUFFER_BYTES


def test_a_parquet_footer_and_one_column_cost_their_own_bytes() -> None:
    sink = io.BytesIO()
    table = pa.table({"small": list(range(1000)), "large": [noise(20_000 + n) for n in range(1000)]})
    pq.write_table(table, sink, row_group_size=100, compression="none", use_dictionary=False)
    remote = Remote(sink.getvalue())
    file = pq.ParquetFile(open_reader(remote.info, remote.fetch))
    assert file.read(["small"]).column("small").to_pylist() == list(range(1000))
    assert remote.fetched_bytes < 20 * (BUFFER_BYTES + FIRST_AHEAD_BYTES) < len(remote.data) // 3
    assert file.read_row_group(4) == table.slice(400, 100)


def test_an_object_that_got_shorter_has_changed() -> None:
    remote = Remote(noise(1000))
    file = open_reader(
        ObjectInfo(uri="s3://bucket/object", size_bytes=2000, version="1"), remote.fetch, block_bytes=1 << 20
    )
    with pytest.raises(ChangedError, match="shorter"):
        file.read()


def test_a_failed_read_can_be_tried_again() -> None:
    remote = Remote(noise(1000))
    failures = [UnavailableError("s3://bucket/object", "down")]

    def fetch(start: int, stop: int) -> Future[bytes]:
        if failures:
            future: Future[bytes] = Future()
            future.set_exception(failures.pop())
            return future
        return remote.fetch(start, stop)

    file = open_reader(remote.info, fetch)
    with pytest.raises(UnavailableError):
        file.read(10)
    assert file.read() == remote.data


@pytest.mark.s3
def test_a_tar_streams_from_s3_as_from_disk(rgw_s3: S3Bucket) -> None:
    sink = io.BytesIO()
    members = {f"{number:05d}.jpg": noise(10_000 + 37 * number) for number in range(1500)}
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    storage = storage_for(rgw_s3.uri)
    info = storage.put(join(rgw_s3.uri, "shard.tar"), sink.getvalue())
    with storage.open(info) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert found == members


@pytest.mark.s3
def test_parquet_reads_from_s3_as_from_disk(rgw_s3: S3Bucket) -> None:
    sink = io.BytesIO()
    table = pa.table({"id": list(range(3000)), "image": [noise(3000 + n) for n in range(3000)]})
    pq.write_table(table, sink, row_group_size=500)
    storage = storage_for(rgw_s3.uri)
    info = storage.put(join(rgw_s3.uri, "images.parquet"), sink.getvalue())
    with storage.open(info) as file:
        assert pq.read_table(file) == table
    with storage.open(info) as file:
        batches = list(pq.ParquetFile(file).iter_batches(batch_size=100, row_groups=[2, 3]))
    assert pa.Table.from_batches(batches) == table.slice(1000, 1000)
