"""What is left of a machine's or a container's memory, from files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vision_batch.inference.memory import THRESHOLD_VARIABLE, left_bytes, resident_bytes

GIB = 1 << 30


@pytest.fixture(autouse=True)
def threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THRESHOLD_VARIABLE, "0.75")


def write(system: Path, **files: str) -> Path:
    host = {"proc/meminfo": f"MemTotal: {16 << 20} kB\nMemFree: 1 kB\nMemAvailable: {10 << 20} kB\n"}
    for name, text in {**host, **{name.replace("__", "/"): text for name, text in files.items()}}.items():
        path = system / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return system


def cgroup(folder: str, limit_name: str, usage_name: str, limit: str, prefix: str) -> dict[str, str]:
    stat = f"anon 5\n{prefix}inactive_file {GIB}\n{prefix}active_file {GIB}\n"
    return {f"{folder}{limit_name}": limit, f"{folder}{usage_name}": str(4 * GIB), f"{folder}memory.stat": stat}


V1 = ("sys/fs/cgroup/memory/", "memory.limit_in_bytes", "memory.usage_in_bytes")
V2 = ("sys/fs/cgroup/", "memory.max", "memory.current")


def test_of_a_machine(tmp_path: Path) -> None:
    assert left_bytes(write(tmp_path)) == (12 - 6) * GIB


@pytest.mark.parametrize(("files", "prefix"), [(V1, "total_"), (V2, "")], ids=["version 1", "version 2"])
def test_of_a_container_the_page_cache_is_free(tmp_path: Path, files: tuple[str, str, str], prefix: str) -> None:
    assert left_bytes(write(tmp_path, **cgroup(*files, str(8 * GIB), prefix))) == (6 - 2) * GIB


@pytest.mark.parametrize("limit", ["max", str((1 << 63) - 4096)])
def test_of_a_container_without_a_limit(tmp_path: Path, limit: str) -> None:
    assert left_bytes(write(tmp_path, **cgroup(*V2, limit, ""))) == (12 - 6) * GIB


def test_nobody_knows_without_proc(tmp_path: Path) -> None:
    assert left_bytes(tmp_path) is None
    assert resident_bytes(2**22 + 1) == 0


def test_of_this_machine() -> None:
    before = resident_bytes(os.getpid())
    held = np.ones(64 << 20, np.uint8)
    assert resident_bytes(os.getpid()) - before > held.nbytes // 2
    assert left_bytes() is not None
