from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from tests.privileges import without_privileges
from vision_batch.errors import ChangedError, ForbiddenError, NotFoundError, UnavailableError
from vision_batch.storage.local import LocalStorage
from vision_batch.storage.local_errors import translated
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.retry import Retry, TransientError


@pytest.fixture
def storage() -> LocalStorage:
    return LocalStorage(retry=Retry(attempts=3, first_s=0))


def names(storage: LocalStorage, folder: Path) -> list[str]:
    return [os.path.relpath(info.uri, folder) for info in storage.list(str(folder))]


def test_links_to_files_and_folders_are_followed(storage: LocalStorage, tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    for path in (elsewhere, folder):
        path.mkdir()
    (elsewhere / "a.jpg").write_bytes(b"12345")
    (folder / "link.jpg").symlink_to(elsewhere / "a.jpg")
    (folder / "links").symlink_to(elsewhere)
    infos = list(storage.list(str(folder)))
    assert [os.path.relpath(info.uri, folder) for info in infos] == ["link.jpg", "links/a.jpg"]
    assert [info.size_bytes for info in infos] == [5, 5]


def test_a_link_to_nothing_is_listed_and_not_found(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    infos = list(storage.list(str(tmp_path)))
    assert infos == [
        ObjectInfo(uri=str(tmp_path / name), size_bytes=0, version="missing") for name in ("gone.jpg", "self.jpg")
    ]
    for info in infos:
        with pytest.raises(NotFoundError):
            storage.read(info.uri, version=info.version)


def test_a_link_to_a_folder_above_it_ends(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "x.jpg").touch()
    assert names(storage, tmp_path) == ["a/x.jpg"]


def test_pipes_and_empty_folders_are_no_files(storage: LocalStorage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "empty").mkdir()
    assert names(storage, tmp_path) == []
    with pytest.raises(NotFoundError):
        storage.stat(str(tmp_path / "pipe.jpg"))


def test_only_folders_are_listed(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotFoundError, match="not a folder"):
        storage.list(str(tmp_path / "file"))
    with pytest.raises(NotFoundError):
        storage.list(str(tmp_path / "absent"))
    with pytest.raises(NotFoundError, match="a folder above it is a file"):
        storage.put(str(tmp_path / "file" / "below"), b"")
    with pytest.raises(NotFoundError, match="is a folder"):
        storage.read(str(tmp_path))


def test_what_may_not_be_read_is_forbidden(storage: LocalStorage) -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path lies in a folder that only its owner may enter
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "file").touch(mode=0o000)
        (folder / "folder").mkdir(mode=0o000)
        with without_privileges():
            with pytest.raises(ForbiddenError, match="file"):
                storage.read(str(folder / "file"))
            with pytest.raises(ForbiddenError, match="folder"):
                list(storage.list(str(folder)))
            with pytest.raises(ForbiddenError, match="new"):
                storage.put(str(folder / "folder" / "new"), b"")
        (folder / "folder").chmod(0o755)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.EACCES, ForbiddenError),
        (errno.EPERM, ForbiddenError),
        (errno.EROFS, ForbiddenError),
        (errno.ENOENT, NotFoundError),
        (errno.ENOTDIR, NotFoundError),
        (errno.ENAMETOOLONG, NotFoundError),
        (errno.ENOSPC, UnavailableError),
        (errno.EMFILE, UnavailableError),
        (errno.EIO, TransientError),
        (errno.ESTALE, TransientError),
    ],
)
def test_errors_of_the_system_are_told_apart_by_what_to_do(code: int, error: type[Exception]) -> None:
    with pytest.raises(error), translated("/data/x"):
        raise OSError(code, os.strerror(code))


def test_a_full_disk_is_said_at_once_and_nothing_is_left(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match=r"No space left.*run again to resume"):
        storage.put(str(tmp_path / "x"), b"data")
    assert len(calls) == 1
    assert os.listdir(tmp_path) == []


def test_a_hiccup_of_a_network_file_system_is_tried_again(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"data")
    real, failures = os.fstat, [errno.EIO, errno.ESTALE]

    def fstat(descriptor: int) -> os.stat_result:
        if failures:
            raise OSError(failures.pop(), "hiccup")
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    assert storage.read(str(path)) == b"data"


def test_temporary_files_go_to_scratch_and_away(storage: LocalStorage, tmp_path: Path) -> None:
    output, scratch = tmp_path / "output", tmp_path / "output" / "_ledger" / "tmp"
    storage.put(str(output / "part"), b"1", if_absent=True, scratch=str(scratch))
    with pytest.raises(Exception, match="there already"):
        storage.put(str(output / "part"), b"2", if_absent=True, scratch=str(scratch))
    assert sorted(os.listdir(output)) == ["_ledger", "part"]
    assert os.listdir(scratch) == []


@pytest.mark.parametrize("if_absent", [True, False])
def test_a_temporary_file_that_somebody_removed_is_written_again(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, if_absent: bool
) -> None:
    real, removed = os.fsync, []

    def fsync(descriptor: int) -> None:
        real(descriptor)
        for path in [] if removed else (tmp_path / "scratch").iterdir():
            path.unlink()
            removed.append(path)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.put(str(tmp_path / "x"), b"data", if_absent=if_absent, scratch=str(tmp_path / "scratch"))
    assert removed
    assert (tmp_path / "x").read_bytes() == b"data"


def test_a_file_system_without_links_says_what_to_choose(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UnavailableError, match="hard links"):
        storage.put(str(tmp_path / "x"), b"data", if_absent=True)
    assert os.listdir(tmp_path) == []


def test_a_file_rewritten_in_place_under_its_reader_is_noticed(storage: LocalStorage, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(5 << 20))
    with storage.open(storage.stat(str(path))) as file:
        assert file.read(10) == bytes(10)
        path.write_bytes(b"1" * (5 << 20))
        with pytest.raises(ChangedError):
            file.read()


def test_a_file_that_grows_while_it_is_read_is_noticed(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    info = storage.stat(str(path))
    real, appended = os.fstat, []

    def fstat(descriptor: int) -> os.stat_result:
        before = real(descriptor)
        if not appended:
            with path.open("ab") as file:
                appended.append(file.write(b"more"))
        return before

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(ChangedError):
        storage.read(info.uri, version=info.version)
