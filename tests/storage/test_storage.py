"""What every storage does alike: files, moto and Ceph's gateway take the same tests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from vision_batch.errors import ChangedError, ExistsError, NotFoundError, StorageError, TooLargeError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import ReadRequest, Storage
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, relative_to

NAMES = [
    "plain.jpg",
    "with space.jpg",
    "plus+and&ampersand.jpg",
    "hash#1.jpg",
    "percent%20%zz.jpg",
    "question?mark=1.jpg",
    "ünïcödé-画像-🖼.jpg",
    "[brackets]*star.jpg",
    'quote\'s "and" back\\slash.jpg',
    "x" * 230 + ".jpg",
    "=equals:colon;semicolon,comma~tilde.jpg",
]


@dataclass(frozen=True)
class Place:
    storage: Storage
    root: str

    def put(self, name: str, data: bytes = b"data") -> ObjectInfo:
        return self.storage.put(join(self.root, name), data)

    def names(self, folder: str = "") -> list[str]:
        uri = join(self.root, folder) if folder else self.root
        return [relative_to(info.uri, self.root) for info in self.storage.list(uri)]


@pytest.fixture(params=["local", pytest.param("moto", marks=pytest.mark.s3), pytest.param("rgw", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    root = str(tmp_path) if request.param == "local" else request.getfixturevalue(f"{request.param}_s3").uri
    return Place(storage_for(root), root)


def test_what_was_put_is_read_back(place: Place) -> None:
    info = place.put("a/b.bin", b"\x00\xff" * 1000)
    assert info.uri == join(place.root, "a/b.bin")
    assert info.size_bytes == 2000
    assert place.storage.stat(info.uri) == info
    assert place.storage.read(info.uri) == b"\x00\xff" * 1000
    assert place.storage.read(info.uri, version=info.version) == b"\x00\xff" * 1000


def test_an_open_file_is_put_from_its_beginning(place: Place, tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    with (tmp_path / "spool").open("w+b") as file:
        file.write(content)
        for condition in ({"if_absent": True}, {}):
            info = place.storage.put(join(place.root, "from a file"), file, **condition)
            assert info == place.storage.stat(info.uri)
            assert place.storage.read(info.uri) == content


def test_any_name_works_in_every_verb(place: Place) -> None:
    for name in NAMES:
        folder = f"folder of {name[:20]}"
        info = place.put(f"{folder}/{name}", name.encode())
        assert place.storage.stat(info.uri) == info
        assert place.storage.read(info.uri) == name.encode()
        assert place.storage.read_range(info.uri, 1, 3) == name.encode()[1:3]
        assert place.storage.open(info).read() == name.encode()
        assert list(place.storage.list(join(place.root, folder))) == [info]
    assert place.names() == sorted(f"folder of {name[:20]}/{name}" for name in NAMES)
    for name in NAMES:
        place.storage.delete(join(place.root, f"folder of {name[:20]}/{name}"))
    assert place.names() == []


def test_a_listing_is_recursive_and_in_byte_order_of_whole_names(place: Place) -> None:
    names = ["a/b", "a.txt", "a-b/c", "a/", "B", "a/b.c/d", "a/b/c" if place.root.startswith("s3") else "a/c", "é", "z"]
    for name in names:
        if not name.endswith("/"):
            place.put(name)
    expected = sorted((name for name in names if not name.endswith("/")), key=str.encode)
    assert place.names() == expected
    assert place.names("a") == [name for name in expected if name.startswith("a/")]


def test_a_listing_knows_the_version_that_stat_knows(place: Place) -> None:
    info = place.put("x")
    assert list(place.storage.list(place.root)) == [info]


def test_a_range_ends_where_the_object_ends(place: Place) -> None:
    uri = place.put("ten", b"0123456789").uri
    assert place.storage.read_range(uri, 0, 10) == b"0123456789"
    assert place.storage.read_range(uri, 3, 4) == b"3"
    assert place.storage.read_range(uri, 8, 99) == b"89"
    assert place.storage.read_range(uri, 10, 20) == b""
    assert place.storage.read_range(uri, 99, 200) == b""
    assert place.storage.read_range(uri, 5, 5) == b""


def test_an_empty_object_is_an_object(place: Place) -> None:
    info = place.put("empty", b"")
    assert info.size_bytes == 0
    assert place.storage.read(info.uri) == b""
    assert place.storage.read_range(info.uri, 0, 1) == b""
    assert place.storage.open(info).read() == b""
    assert place.names() == ["empty"]


def test_what_is_not_there_is_not_found(place: Place) -> None:
    absent = join(place.root, "absent")
    for verb in (place.storage.stat, place.storage.read, lambda uri: place.storage.read_range(uri, 0, 1)):
        with pytest.raises(NotFoundError, match="absent"):
            verb(absent)
    with pytest.raises(NotFoundError):
        place.storage.open(ObjectInfo(uri=absent, size_bytes=4, version="1-4")).read()


def test_deleting_is_idempotent(place: Place) -> None:
    uri = place.put("x").uri
    place.storage.delete(uri)
    place.storage.delete(uri)
    with pytest.raises(NotFoundError):
        place.storage.stat(uri)


def test_deleting_a_version_leaves_every_other_one(place: Place) -> None:
    old = place.put("x", b"old")
    new = place.put("x", b"newer")
    with pytest.raises(ChangedError):
        place.storage.delete(old.uri, if_version=old.version)
    assert place.storage.read(new.uri) == b"newer"
    place.storage.delete(new.uri, if_version=new.version)
    place.storage.delete(new.uri, if_version=new.version)
    assert place.names() == []


def test_a_changed_object_is_not_read_as_the_planned_version(place: Place) -> None:
    old = place.put("x", b"old")
    place.put("x", b"newer")
    with pytest.raises(ChangedError):
        place.storage.read(old.uri, version=old.version)
    with pytest.raises(ChangedError):
        place.storage.read_range(old.uri, 0, 1, version=old.version)
    with pytest.raises(ChangedError):
        place.storage.open(old).read()


def test_an_object_that_changes_under_its_reader_is_noticed(place: Place) -> None:
    info = place.put("x", bytes(20 << 20))
    with place.storage.open(info) as file:
        assert file.read(10) == bytes(10)
        place.put("x", b"1" * (20 << 20))
        if place.root.startswith("s3://"):
            with pytest.raises(ChangedError):
                file.read()
        else:  # a replaced file stays readable as the version that was opened
            assert file.read() == bytes((20 << 20) - 10)


def test_put_if_absent_keeps_what_is_there(place: Place) -> None:
    uri = join(place.root, "part")
    first = place.storage.put(uri, b"first", if_absent=True)
    with pytest.raises(ExistsError, match="part"):
        place.storage.put(uri, b"second", if_absent=True)
    assert place.storage.stat(uri) == first
    assert place.storage.read(uri) == b"first"


def test_of_racing_writers_exactly_one_wins(place: Place) -> None:
    def write(writer: int) -> bool:
        try:
            place.storage.put(uri, str(writer).encode() * 1000, if_absent=True)
        except ExistsError:
            return False
        return True

    for race in range(3):
        uri = join(place.root, f"race-{race}")
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, range(8)))
        assert won.count(True) == 1
        assert place.storage.read(uri) == str(won.index(True)).encode() * 1000


def test_put_if_version_replaces_that_version_only(place: Place) -> None:
    first = place.put("x", b"first")
    second = place.storage.put(first.uri, b"second", if_version=first.version)
    assert second == place.storage.stat(first.uri)
    with pytest.raises(ChangedError):
        place.storage.put(first.uri, b"third", if_version=first.version)
    assert place.storage.read(first.uri) == b"second"


def test_put_if_version_does_not_create(place: Place) -> None:
    with pytest.raises(ChangedError):
        place.storage.put(join(place.root, "absent"), b"x", if_version="1-1")
    assert place.names() == []


def test_many_reads_keep_their_order_and_errors_their_place(place: Place) -> None:
    infos = [place.put(f"{number:03d}", str(number).encode() * 50) for number in range(40)]
    changed = place.storage.put(infos[7].uri, b"changed")
    requests = [ReadRequest(uri=info.uri, version=info.version, size_bytes=info.size_bytes) for info in infos]
    requests.insert(30, ReadRequest(uri=join(place.root, "absent")))
    bodies = list(place.storage.read_many(iter(requests)))
    assert len(bodies) == 41
    assert isinstance(bodies[30], NotFoundError)
    assert isinstance(bodies[7], ChangedError)
    good = [body for body in bodies if not isinstance(body, StorageError)]
    assert good == [str(number).encode() * 50 for number in range(40) if number != 7]
    assert changed.uri == infos[7].uri


def test_an_object_of_more_bytes_than_are_wanted_is_not_read(place: Place) -> None:
    uris = [place.put(name, bytes(size)).uri for name, size in (("a", 10), ("b", 11), ("c", 9))]
    bodies = list(place.storage.read_many(ReadRequest(uri=uri, most_bytes=10) for uri in uris))
    assert (bodies[0], bodies[2]) == (bytes(10), bytes(9))
    assert isinstance(bodies[1], TooLargeError)
    assert bodies[1].message == "11 bytes, more than 10"


def test_many_reads_may_be_left_early_and_run_beside_each_other(place: Place) -> None:
    requests = [ReadRequest(uri=place.put(f"{number:02d}", bytes([number])).uri) for number in range(20)]
    assert next(iter(place.storage.read_many(requests))) == b"\x00"
    with ThreadPoolExecutor(4) as pool:
        for bodies in pool.map(lambda _: list(place.storage.read_many(requests)), range(4)):
            assert bodies == [bytes([number]) for number in range(20)]
    assert list(place.storage.read_many([])) == []


def test_a_reader_seeks_and_reads_like_a_file(place: Place) -> None:
    data = bytes(range(256)) * 4096
    info = place.put("x", data)
    with place.storage.open(info) as file:
        assert file.readable()
        assert file.seekable()
        assert file.read(3) == data[:3]
        assert file.seek(-8, 2) == len(data) - 8
        assert file.read() == data[-8:]
        assert file.seek(500_001) == 500_001
        assert file.read(100_000) == data[500_001:600_001]
        assert file.tell() == 600_001
