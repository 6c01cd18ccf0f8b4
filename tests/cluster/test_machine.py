"""What a machine has is found without starting Ray."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vision_batch.cluster import machine
from vision_batch.cluster.machine import machine_resources


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four GPUs, as NVIDIA's driver lists them."""
    for bus in range(4):
        (tmp_path / f"0000:{bus:02d}:00.0").mkdir()
    monkeypatch.setattr(machine, "NVIDIA_GPUS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)


def cpus_and_gpus() -> tuple[int, int]:
    found = machine_resources()
    return found.cpus, found.gpus


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "NVIDIA_GPUS", tmp_path / "no-driver")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    found = machine_resources()
    assert found.cpus >= 1
    assert found.gpus == 0


@pytest.mark.usefixtures("gpus")
def test_a_gpu_machine_has_its_cpus_beside_them() -> None:
    assert cpus_and_gpus() == (6, 4)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("visible", "count"),
    [
        ("", 0),
        ("-1", 0),
        ("2", 1),
        ("0,1", 2),
        ("GPU-8f2d,GPU-11aa,GPU-77e0", 3),
        ("0,1,2,3,4,5,6,7", 4),
    ],
)
def test_only_visible_gpus_count(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cpus_and_gpus() == (6, count)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind processes to CPUs")
def test_only_cpus_that_the_process_may_use_count() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert machine_resources().cpus == 1
    finally:
        os.sched_setaffinity(0, allowed)
