"""Is this machine fit to run jobs? What imports Ray or torch is asked in processes of their own, with time limits."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from vision_batch.cluster.finding import Finding, fail, ok, warn

PROBE_LIMIT_S = 120.0
LEAST_FREE_BYTES = 5 << 30
LEAST_OPEN_FILES = 4096
SHARED_MEMORY = Path("/dev/shm")


class ProbeError(Exception):
    """A probe's process failed or took too long; the text says how."""


def check_machine(requirements: Sequence[str] | None = None) -> Iterator[Finding]:
    """Everything that does not depend on a spec, the quick checks first; `requirements` as in `check_packages`."""
    yield check_python()
    yield check_packages(requirements)
    yield check_open_files()
    yield check_free_disk("temporary files", Path(tempfile.gettempdir()))
    yield from check_ray()
    yield check_accelerators(reported_gpus())


def check_python(found: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Python is recent enough."""
    text = f"Python {'.'.join(map(str, found))} on {platform.platform(terse=True)}"
    if found < (3, 11):
        return fail("python", text, "install Python 3.11 or newer and make the environment anew")
    return ok("python", text)


def check_packages(requirements: Sequence[str] | None = None, distribution: str = "vision-batch") -> Finding:
    """Every package that is demanded is there in a version that will do.

    `requirements` are as in `base_requirements`: by default those of this installation.
    """
    try:
        wanted = [Requirement(text) for text in requirements or base_requirements(distribution)]
    except PackageNotFoundError:
        return warn("packages", f"{distribution} is not installed, only imported", "pip install -e .")
    wrong = [
        f"{each.name} {_installed(each.name) or 'missing'}, needs {each.specifier}"
        for each in wanted
        if _is_wrong(each)
    ]
    if wrong:
        return fail("packages", "; ".join(wrong), f"pip install --upgrade {distribution}")
    return ok("packages", ", ".join(f"{name} {_installed(name)}" for name in ("ray", "torch", "pyarrow", "s3fs")))


def base_requirements(distribution: str = "vision-batch") -> list[str]:
    """What the base install demands, as `ray[data]>=2.60`. PackageNotFoundError where it is not installed."""
    wanted = [Requirement(text) for text in requires(distribution) or ()]
    base = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    for each in base:
        each.marker = None
    return [str(each) for each in base]


def check_open_files(limits: tuple[int, int] | None = None) -> Finding:
    """Many connections and workers need many file descriptors. `limits` are the soft and the hard one."""
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    if not unlimited and soft < LEAST_OPEN_FILES:
        return warn("open files", f"at most {soft} (hard limit {hard})", "ulimit -n 65536 before starting")
    return ok("open files", "no limit" if unlimited else f"at most {soft}")


def check_free_disk(check: str, folder: Path) -> Finding:
    """The file system below `folder`, which exists, has room."""
    usage = shutil.disk_usage(folder)
    text = f"{_gigabytes(usage.free)} free of {_gigabytes(usage.total)} at {folder}"
    if usage.free < LEAST_FREE_BYTES:
        return warn(check, text, f"free some space: {_gigabytes(LEAST_FREE_BYTES)} at least")
    return ok(check, text)


def check_ray() -> Iterator[Finding]:
    """A local Ray starts, runs a task, and its object store fits into shared memory."""
    try:
        report = probe("vision_batch.cluster.ray_probe")
    except ProbeError as error:
        yield fail("ray", f"a local Ray does not start: {error}", "see the logs in /tmp/ray/session_latest/logs")
        return
    yield ok(
        "ray", f"starts and ends here in {report['seconds']:.1f} s: {report['cpus']:g} CPUs, {report['gpus']:g} GPUs"
    )
    if SHARED_MEMORY.is_dir():
        yield check_shared_memory(shutil.disk_usage(SHARED_MEMORY).free, int(report["object_store_bytes"]))


def check_shared_memory(room_bytes: int, object_store_bytes: int) -> Finding:
    """What crosses processes lies in shared memory; where that is small Ray uses files, which is slow."""
    room, store = _gigabytes(room_bytes), _gigabytes(object_store_bytes)
    text = f"{room} of room in {SHARED_MEMORY}, Ray's object store takes {store}"
    if room_bytes < object_store_bytes:
        return warn("shared memory", text, "enlarge it: docker run --shm-size=…, or an emptyDir in memory at /dev/shm")
    return ok("shared memory", text)


def check_accelerators(reported: list[str], limit_s: float = PROBE_LIMIT_S) -> Finding:
    """torch computes on every GPU that the driver reports."""
    try:
        report = probe("vision_batch.cluster.torch_probe", limit_s)
    except ProbeError as error:
        return fail("torch", f"torch does not work here: {error}", "match torch's build, the GPU and its driver")
    return judge_accelerators(report, reported)


def judge_accelerators(report: dict[str, Any], reported: list[str]) -> Finding:
    """Compares what torch sees with what the driver reports."""
    devices: list[str] = report["devices"]
    build = f"torch {report['version']}, built for {'CUDA ' + report['cuda'] if report['cuda'] else 'the CPU'}"
    text = f"{build}: {', '.join(devices) or 'computes on the CPU'}"
    if len(devices) >= len(reported):
        return ok("torch", text)
    missing = f"{text}; the driver reports {', '.join(reported)}"
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return ok("torch", f"{missing}; CUDA_VISIBLE_DEVICES chooses")
    if report["cuda"] is None:
        return fail("torch", missing, "install a CUDA build of torch: https://pytorch.org/get-started/locally")
    return fail("torch", missing, "match torch's CUDA with the driver's: nvidia-smi shows the newest that it knows")


def reported_gpus() -> list[str]:
    """The names of the GPUs that NVIDIA's driver reports; none without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def probe(module: str, limit_s: float = PROBE_LIMIT_S) -> dict[str, Any]:
    """Runs `python -m module` and returns the object on its last line of output. Raises ProbeError."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module],  # -P: what lies in the current folder is not imported
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"no answer within {limit_s:g} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise ProbeError(f"exit code {done.returncode}, {last[:300]}")
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_wrong(requirement: Requirement) -> bool:
    found = _installed(requirement.name)
    return found is None or not requirement.specifier.contains(found, prereleases=True)


def _gigabytes(size_bytes: float) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB"
