"""Files of models on S3 come to a machine once, whoever asks for them, and are what was digested."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.conftest import S3Bucket
from tests.faults.fault_proxy import FaultProxy, Rule
from vision_batch.errors import ModelError
from vision_batch.models import node_copy as copies
from vision_batch.models.digest import checked_file, file_digest, read_checked
from vision_batch.models.node_copy import node_copy
from vision_batch.storage.table import forget_s3, storage_for

pytestmark = pytest.mark.usefixtures("temporary")

DATA = os.urandom(3 << 20)
DIGEST = hashlib.sha256(DATA).hexdigest()
ASK = "import sys; from vision_batch.models.node_copy import node_copy; print(node_copy(*sys.argv[1:]))"


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """What lies in storage: a file does, too, since a copy is made by the seam of all storages."""
    path = tmp_path / "stored.safetensors"
    path.write_bytes(DATA)
    return str(path)


def files(temporary: Path) -> list[str]:
    return sorted(path.name for path in temporary.glob("*/*"))


@pytest.mark.s3
def test_processes_that_ask_at_the_same_time_get_one_object_with_one_request(
    moto_s3: S3Bucket, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{moto_s3.uri}/m/w.safetensors"
    storage_for(uri).put(uri, DATA)
    with FaultProxy(moto_s3.server.address) as proxy:
        proxy.rules = [Rule(kind="delay", match=r"^GET .*w\.safetensors", s=2)]  # until all of them are there
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        command = [sys.executable, "-c", ASK, uri, DIGEST]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        found = {process.communicate(timeout=60)[0].strip() for process in processes}
        assert [process.returncode for process in processes] == [0] * 4
        assert len([line for line in proxy.requests if line.startswith("GET") and "w.safetensors" in line]) == 1
    (copy,) = found
    assert Path(copy).read_bytes() == DATA
    assert files(temporary) == [DIGEST]


@pytest.mark.s3
def test_what_lies_on_s3_is_read_by_way_of_the_copy(moto_s3: S3Bucket, temporary: Path) -> None:
    uri = f"{moto_s3.uri}/w"
    storage_for(uri).put(uri, DATA)
    assert read_checked(uri, DIGEST) == DATA
    storage_for(uri).delete(uri)
    assert read_checked(uri, DIGEST) == DATA
    assert checked_file(uri, DIGEST).parent.parent == temporary


@pytest.mark.s3
def test_a_driver_reads_an_object_once_for_itself_and_its_machine_and_not_again_in_a_later_run(
    moto_s3: S3Bucket, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{moto_s3.uri}/w"
    storage_for(uri).put(uri, DATA)
    with FaultProxy(moto_s3.server.address) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        forget_s3()
        assert file_digest(uri, where="model") == DIGEST
        assert read_checked(uri, DIGEST) == DATA
        assert file_digest(uri, where="model") == DIGEST
        assert len([line for line in proxy.requests if line.startswith("GET")]) == 1
        storage_for(uri).put(uri, DATA[:-1])
        assert file_digest(uri, where="model") == hashlib.sha256(DATA[:-1]).hexdigest()
        for note in temporary.glob("*/*.sha256"):
            note.write_text("cut off")
        assert file_digest(uri, where="model") == hashlib.sha256(DATA[:-1]).hexdigest()


@pytest.mark.s3
def test_a_driver_without_room_for_a_copy_digests_all_the_same(
    moto_s3: S3Bucket, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{moto_s3.uri}/w"
    storage_for(uri).put(uri, DATA)
    (temporary / f"vision-batch-models-{os.getuid()}").write_text("in the way")
    assert file_digest(uri, where="model") == DIGEST
    with pytest.raises(ModelError, match="cannot be copied into"):
        read_checked(uri, DIGEST)


def test_a_local_file_has_no_copy(weights: str, temporary: Path) -> None:
    assert str(checked_file(weights, DIGEST)) == weights
    assert read_checked(weights, DIGEST) == DATA
    assert files(temporary) == []
    with pytest.raises(ModelError, match="has changed since the run began"):
        checked_file(weights, "0" * 64)


def test_a_spoiled_copy_is_fetched_anew(weights: str) -> None:
    copy = node_copy(weights, DIGEST)
    copy.write_bytes(DATA[:-1] + b"?")
    assert node_copy(weights, DIGEST).read_bytes() == DATA


def test_an_object_that_has_changed_leaves_nothing(weights: str, temporary: Path) -> None:
    Path(weights).write_bytes(b"another")
    with pytest.raises(ModelError, match=r"stored\.safetensors has changed since the run began; run again"):
        node_copy(weights, DIGEST)
    assert files(temporary) == []


def test_an_object_that_is_not_there(tmp_path: Path, temporary: Path) -> None:
    with pytest.raises(ModelError, match="every worker must be able to read it"):
        node_copy(str(tmp_path / "none"), DIGEST)
    assert files(temporary) == []


def test_who_waits_for_a_process_that_dies_fetches_itself(weights: str, temporary: Path) -> None:
    hang = (
        "import sys, time; from vision_batch.models import node_copy as copies\n"
        "def fetch(info, into):\n"
        "    into.write(b'half'); into.flush(); print('half', flush=True); time.sleep(600)\n"
        "copies._fetch = fetch; copies.node_copy(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", hang, weights, DIGEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "half\n"
        assert files(temporary) == [f"{DIGEST}.part"]
        waiting = threading.Thread(target=node_copy, args=(weights, DIGEST))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        holder.kill()
        waiting.join(30)
    assert (temporary / f"vision-batch-models-{os.getuid()}" / DIGEST).read_bytes() == DATA
    assert files(temporary) == [DIGEST]


def test_copies_that_nobody_uses_make_room(weights: str, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = node_copy(weights, DIGEST).parent
    now = time.time()
    for age_s, name in [(7200, "old"), (7100, "older.part"), (9000, "oldest"), (60, "in-use")]:
        (folder / name).write_bytes(bytes(1 << 20))
        os.utime(folder / name, (now - age_s, now - age_s))
    monkeypatch.setattr(copies, "KEPT_BYTES", 6 << 20)
    (folder / DIGEST).unlink()
    node_copy(weights, DIGEST)
    assert files(temporary) == sorted([DIGEST, "in-use", "older.part", "old"])
    monkeypatch.setattr(copies, "KEPT_BYTES", 0)
    (folder / DIGEST).unlink()
    node_copy(weights, DIGEST)
    assert files(temporary) == sorted([DIGEST, "in-use"])


def test_a_copy_that_is_being_compared_is_in_use(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process makes room while a large one is read that nobody had asked for since yesterday."""
    copy = node_copy(weights, DIGEST)
    os.utime(copy, (0, 0))
    monkeypatch.setattr(copies, "KEPT_BYTES", 0)
    compare = hashlib.file_digest

    def meanwhile(file: BinaryIO, name: str) -> hashlib._Hash:
        copies._forget_oldest(copy.parent)
        return compare(file, name)

    monkeypatch.setattr(hashlib, "file_digest", meanwhile)
    assert node_copy(weights, DIGEST).read_bytes() == DATA


@pytest.mark.parametrize("mode", [0o777, 0o750])
def test_a_folder_that_others_can_write_to_is_not_used(weights: str, temporary: Path, mode: int) -> None:
    folder = temporary / f"vision-batch-models-{os.getuid()}"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ModelError, match=r"is not a folder of this user alone; remove it"):
        node_copy(weights, DIGEST)


def test_a_link_to_another_folder_is_not_used(weights: str, temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (temporary / f"vision-batch-models-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="is not a folder of this user alone"):
        node_copy(weights, DIGEST)
