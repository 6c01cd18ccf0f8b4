"""Checkpoints: whole or not there, the newest that can be read, the best and the last few; also under kill -9."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import S3Bucket
from vision_batch.errors import CheckpointError, LedgerError, StorageError
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join
from vision_batch.training import checkpoint
from vision_batch.training.checkpoint import CheckpointStore
from vision_batch.training.checkpoint_record import read_record, seal_record

STATE = {"epoch": 3, "position": (7, 8), "optimizer": {"state": {0: {"step": torch.tensor(5.0)}}}}


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((3, 2), float(step)), "half": torch.ones(2, dtype=torch.bfloat16) * step}


def filled(
    folder: str | Path, *steps: int, keep_last: int = 3, scores: dict[int, float] | None = None
) -> CheckpointStore:
    store = CheckpointStore(str(folder), keep_last=keep_last)
    for step in steps:
        store.save(step, tensors(step), STATE | {"step": step}, score=(scores or {}).get(step))
    return store


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def files_of(folder: Path, step: int, pattern: str = "*") -> list[Path]:
    return sorted((folder / f"{step:09d}").glob(pattern))


def assert_loads(store: CheckpointStore, step: int) -> None:
    found = store.latest()
    assert found is not None
    assert found.checkpoint.step == step
    assert found.state["step"] == step
    dtypes = {name: value.dtype for name, value in found.tensors.items()}
    assert dtypes == {"weight": torch.float32, "half": torch.bfloat16}
    assert all(torch.equal(value, tensors(step)[name]) for name, value in found.tensors.items())


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path / "new" / "checkpoints"), keep_last=1)
    assert (store.latest(), store.best()) == (None, None)
    saved = store.save(120, tensors(120), STATE, score=0.5)
    assert (saved.step, saved.score, saved.uri) == (120, 0.5, f"{tmp_path}/new/checkpoints/000000120")
    latest, best = store.latest(), store.best()
    assert latest is not None
    assert best is not None
    assert latest.checkpoint == best.checkpoint == saved
    loaded, state = CheckpointStore(store._folder, keep_last=1).load(saved)
    assert torch.equal(loaded["weight"], tensors(120)["weight"])
    assert state["position"] == (7, 8)
    assert state["optimizer"]["state"][0]["step"].item() == 5


def test_a_whole_training_comes_back(tmp_path: Path) -> None:
    """Tied weights, buffers, counts, channels_last."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4), nn.Linear(4, 4))
    module = module.to(memory_format=torch.channels_last)
    module[3].weight = module[2].weight
    store = CheckpointStore(str(tmp_path), keep_last=1)
    loaded, _ = store.load(store.save(1, module.state_dict(), None, score=None))
    assert set(loaded) == set(module.state_dict())
    assert all(torch.equal(value, loaded[name]) for name, value in module.state_dict().items())


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 2, 3, 4, 5, 6, keep_last=2, scores={1: 0.1, 2: 0.9, 3: 0.9, 4: 0.2, 6: float("nan")})
    assert steps_in(tmp_path) == [2, 5, 6]
    best = store.best()
    assert best is not None
    assert (best.checkpoint.step, best.checkpoint.score) == (2, 0.9)
    assert_loads(store, 6)


def test_weights_that_are_saved_again_keep_their_score(tmp_path: Path) -> None:
    """As when a training is stopped right after an epoch's end."""
    store = filled(tmp_path, 1, 2, 3, keep_last=1, scores={1: 0.9, 3: 0.5})
    assert store.save(1, tensors(1), STATE | {"step": 1}, score=None).score == 0.9
    assert store.save(3, tensors(4), STATE | {"step": 3}, score=None).score is None
    best = store.best()
    assert best is not None
    assert (best.checkpoint.step, best.checkpoint.score) == (1, 0.9)


def test_large_tensors_are_spread_over_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FILE_BYTES", 100)
    values = {str(index): torch.randn(size) for index, size in enumerate([5, 10, 20, 5, 40, 1])}
    store = CheckpointStore(str(tmp_path), keep_last=1)
    loaded, _ = store.load(store.save(1, values, None, score=None))
    assert len(files_of(tmp_path, 1, "model-*.safetensors")) == 4
    assert set(loaded) == set(values)
    assert all(torch.equal(value, loaded[name]) for name, value in values.items())


@pytest.mark.parametrize("pattern", ["model-*", "state-*", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_one_falls_back_to_the_one_before(
    tmp_path: Path, pattern: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path, 1, 2, 3)
    (file,) = files_of(tmp_path, 3, pattern)
    data = bytearray(file.read_bytes())
    data[-9] ^= 4
    file.unlink() if damage == "gone" else file.write_bytes(data if damage == "flip" else data[:-9])
    with caplog.at_level(logging.WARNING):
        assert_loads(store, 2)
    is_uncommitted = (pattern, damage) == ("state.json", "gone")
    assert bool(caplog.records) is not is_uncommitted
    assert is_uncommitted or "000000003" in caplog.text


@pytest.mark.parametrize("keep_last", [1, 2])
def test_what_follows_a_damaged_one_stays(tmp_path: Path, keep_last: int) -> None:
    """It has the higher number, and would be kept in place of what the training saves when it goes on."""
    store = filled(tmp_path, 1, 2, 30, keep_last=3)
    files_of(tmp_path, 30, "model-*")[0].write_bytes(b"")
    store = CheckpointStore(str(tmp_path), keep_last=keep_last)
    assert_loads(store, 2)
    store.save(10, tensors(10), STATE | {"step": 10}, score=None)
    assert steps_in(tmp_path) == ([2, 10] if keep_last == 2 else [10])
    assert_loads(CheckpointStore(str(tmp_path), keep_last=1), 10)


def test_damaged_ones_only_are_none(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    found = store.latest()
    assert found is not None
    files_of(tmp_path, 1, "state-*")[0].write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"state-.*safetensors: is not what was written: its SHA-256 differs"):
        store.load(found.checkpoint)
    assert store.latest() is None


@pytest.mark.parametrize("every", range(1, 4))
def test_a_save_that_ends_early_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """Also when the same step is saved again: at an epoch's end just after a timed checkpoint."""
    store = filled(tmp_path, 1, 2)
    put, calls = storage_for(str(tmp_path)).put, []

    def fail_at_call(uri: str, *arguments: Any, **options: Any) -> Any:
        calls.append(uri)
        if len(calls) == every:
            raise StorageError(uri, "the disk is full")
        return put(uri, *arguments, **options)

    for step in (2, 3):
        calls.clear()
        monkeypatch.setattr(type(storage_for(str(tmp_path))), "put", lambda _, *a, **o: fail_at_call(*a, **o))
        with pytest.raises(StorageError, match="full"):
            store.save(step, tensors(99), STATE, score=None)
        monkeypatch.undo()
        assert_loads(CheckpointStore(str(tmp_path), keep_last=3), 2)


def test_leftovers_are_swept_and_strangers_stay(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 2)
    (tmp_path / "000000007").mkdir()
    (tmp_path / "000000007" / "model-0123456789abcdef.safetensors").write_bytes(b"half")
    (tmp_path / "000000002" / "model-0123456789abcdef.safetensors").write_bytes(b"of a save before")
    (tmp_path / "_tmp" / "x.tmp").write_bytes(b"left")
    (tmp_path / "notes.txt").write_text("mine")
    store.sweep()
    assert steps_in(tmp_path) == [1, 2]
    assert len(files_of(tmp_path, 2)) == 3
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.glob("_tmp/*"))
    assert_loads(store, 2)


def test_a_checkpoint_of_another_format_is_refused_and_stays(tmp_path: Path) -> None:
    """It may be of a later version: to take an older one, or none, would throw work away."""
    store = filled(tmp_path, 1)
    (file,) = files_of(tmp_path, 1, "state.json")
    file.write_bytes(seal_record(read_record(str(file.parent)) | {"format": 2}))
    for use in (store.latest, store.sweep):
        with pytest.raises(LedgerError, match="has the format 2, this version of vision-batch reads 1: go on with the"):
            use()
    assert len(files_of(tmp_path, 1)) == 3


@pytest.mark.s3
def test_on_s3_it_is_the_same(s3: S3Bucket) -> None:
    folder = join(s3.uri, "run/checkpoints")
    store = filled(folder, 1, 2, 3, keep_last=1, scores={2: 1.0})
    assert_loads(store, 3)
    best = store.best()
    assert best is not None
    assert best.checkpoint.step == 2
    keys = [info.uri.removeprefix(f"{folder}/") for info in storage_for(folder).list(folder)]
    assert {key.partition("/")[0] for key in keys} == {"000000002", "000000003"}
    storage_for(folder).put(join(folder, "000000003", "state.json"), b"{")
    assert_loads(CheckpointStore(folder, keep_last=1), 2)


SAVER = """
import os, signal, sys, time, torch
from vision_batch.training.checkpoint import CheckpointStore

def save_for_ever():
    store = CheckpointStore(sys.argv[1], keep_last=1)
    found = store.latest()
    step = 0 if found is None else found.state["step"]
    while True:
        step += 1
        store.save(step // 2, {"weight": torch.full((64, 1024), float(step))}, {"step": step}, score=None)
        os.write(1, f"{step}\\n".encode())

torch.set_num_threads(1)
for life_s in sys.stdin:
    child = os.fork()
    if not child:
        save_for_ever()
    time.sleep(float(life_s))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.write(1, b"killed\\n")
"""


def test_killed_at_any_moment_the_last_one_loads(tmp_path: Path) -> None:
    """Every step is saved twice, so that half of the kills meet one that is saved over."""
    dice, last = random.Random(5), 0
    command = [sys.executable, "-c", SAVER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(15):
            process.stdin.write(f"{dice.uniform(0.03, 0.1)}\n")
            while (line := process.stdout.readline()) != "killed\n":
                last = int(line)
            store = CheckpointStore(str(tmp_path), keep_last=1)
            found = store.latest()
            if found is None:
                assert last == 0
                continue
            assert found.state["step"] in (last, last + 1)
            assert (found.tensors["weight"] == found.state["step"]).all()
            last = found.state["step"]
        process.stdin.close()
    assert last > 15
    store.sweep()
    assert len([name for _, _, files in os.walk(tmp_path) for name in files]) == 2
