"""What doctor says of a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vision_batch.cluster import checkup
from vision_batch.cluster.checkup import (
    ProbeError,
    base_requirements,
    check_accelerators,
    check_free_disk,
    check_open_files,
    check_packages,
    check_python,
    check_ray,
    check_shared_memory,
    judge_accelerators,
    probe,
    reported_gpus,
)

CPU_BUILD = {"version": "2.13.0+cpu", "cuda": None, "devices": []}
CUDA_BUILD = {"version": "2.13.0", "cuda": "12.8", "devices": []}


@pytest.fixture(autouse=True)
def _every_device_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_this_python_will_do() -> None:
    assert check_python().level == "ok"


def test_an_old_python_fails() -> None:
    finding = check_python((3, 10, 4))
    assert finding.level == "fail"
    assert finding.found.startswith("Python 3.10.4")
    assert "3.11" in finding.mend


def test_packages_are_those_that_the_install_demands() -> None:
    finding = check_packages()
    assert finding.level == "ok"
    assert "ray 2." in finding.found


def test_a_package_that_is_too_old_or_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["ray[data]>=999", "no-such-package-at-all>=1", "numpy>=1", "nobody-needs-this; extra == 'dev'"]
    monkeypatch.setattr(checkup, "requires", lambda name: wanted)
    finding = check_packages()
    assert finding.level == "fail"
    assert "needs >=999" in finding.found
    assert "no-such-package-at-all missing, needs >=1" in finding.found
    assert "numpy" not in finding.found
    assert "nobody" not in finding.found


def test_packages_can_be_demanded_from_elsewhere() -> None:
    """On a cluster's nodes vision-batch is not installed: it comes with the job."""
    assert check_packages(base_requirements()).level == "ok"
    finding = check_packages(["ray>=2", "pyarrow>=999", "none>=1"], distribution="no-such-package-at-all")
    assert finding.level == "fail"
    assert "ray" not in finding.found
    assert "pyarrow" in finding.found
    assert "none missing" in finding.found


def test_what_is_demanded_stands_in_a_word_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """They travel on command lines."""
    wanted = ["ray[data]>=2.60", "numpy>=1; python_version > '3'", "torch; sys_platform == 'none'", "x; extra == 'dev'"]
    monkeypatch.setattr(checkup, "requires", lambda name: wanted)
    assert base_requirements() == ["ray[data]>=2.60", "numpy>=1"]


def test_code_that_is_not_installed_is_a_warning() -> None:
    assert check_packages(distribution="no-such-package-at-all").level == "warn"


@pytest.mark.parametrize(("soft", "level"), [(256, "warn"), (4096, "ok"), (-1, "ok")])
def test_open_files(soft: int, level: str) -> None:
    finding = check_open_files((soft, 4096))
    assert finding.level == level
    assert ("ulimit -n" in finding.mend) == (level == "warn")


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "LEAST_FREE_BYTES", 0)
    assert check_free_disk("disk", tmp_path).level == "ok"
    monkeypatch.setattr(checkup, "LEAST_FREE_BYTES", 1 << 60)
    assert check_free_disk("disk", tmp_path).level == "warn"


def test_docker_gives_too_little_shared_memory() -> None:
    assert check_shared_memory(64 << 20, 4 << 30).level == "warn"
    assert "--shm-size" in check_shared_memory(64 << 20, 4 << 30).mend
    assert check_shared_memory(8 << 30, 4 << 30).level == "ok"


def test_a_gpu_that_the_cpu_build_of_torch_cannot_see_fails() -> None:
    finding = judge_accelerators(CPU_BUILD, ["NVIDIA L4"])
    assert finding.level == "fail"
    assert "computes on the CPU; the driver reports NVIDIA L4" in finding.found
    assert "CUDA build" in finding.mend


def test_a_gpu_that_the_cuda_build_of_torch_cannot_see_fails() -> None:
    finding = judge_accelerators(CUDA_BUILD, ["NVIDIA L4"])
    assert finding.level == "fail"
    assert "nvidia-smi" in finding.mend


def test_gpus_that_torch_sees_are_named() -> None:
    finding = judge_accelerators(CUDA_BUILD | {"devices": ["NVIDIA L4"]}, ["NVIDIA L4"])
    assert finding.level == "ok"
    assert finding.found == "torch 2.13.0, built for CUDA 12.8: NVIDIA L4"


def test_devices_that_the_environment_hides_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert judge_accelerators(CUDA_BUILD, ["NVIDIA L4"]).level == "ok"


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reported_gpus() == []


def test_the_drivers_gpus_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA L4\necho NVIDIA L4\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert reported_gpus() == ["NVIDIA L4", "NVIDIA L4"]
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2\nexit 9\n")
    assert reported_gpus() == []


@pytest.fixture
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules can be probed."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_a_probe_answers_with_its_last_line(probes: Path) -> None:
    (probes / "talks.py").write_text("print('starting'); print('{\"x\": 1}')")
    assert probe("talks") == {"x": 1}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise OSError('no display')", "exit code 1, OSError: no display"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9, nothing said"),
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
    ],
)
def test_a_probe_that_fails_says_how(probes: Path, source: str, reason: str) -> None:
    (probes / "fails.py").write_text(source)
    with pytest.raises(ProbeError) as caught:
        probe("fails", 0.5 if "sleep" in source else 30)
    assert str(caught.value) == reason


def test_torch_that_does_not_load_fails(probes: Path) -> None:
    (probes / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open')")
    finding = check_accelerators([])
    assert finding.level == "fail"
    assert "libcudart.so.12" in finding.found


def test_ray_that_does_not_start_fails(probes: Path) -> None:
    (probes / "ray.py").write_text("raise ImportError('no ray here')")
    (finding,) = check_ray()
    assert finding.level == "fail"
    assert "no ray here" in finding.found


@pytest.mark.ray
def test_ray_and_torch_work_here() -> None:
    ray, *shared_memory = check_ray()
    assert ray.level == "ok"
    assert "CPUs" in ray.found
    assert len(shared_memory) == Path("/dev/shm").is_dir()
    assert check_accelerators([]).level == "ok"


def test_asking_imports_neither_ray_nor_torch() -> None:
    code = "import sys, vision_batch.cluster.checkup; print(*{'ray', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
