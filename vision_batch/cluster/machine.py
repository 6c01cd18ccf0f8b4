"""What this machine has, found without starting Ray."""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path

from vision_batch.inference.layout import Node, Resources

NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def machine_resources() -> Resources:
    """CPUs that this process may use and NVIDIA GPUs that its driver and CUDA_VISIBLE_DEVICES show."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = len(list(NVIDIA_GPUS.iterdir())) if NVIDIA_GPUS.is_dir() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        shown = list(takewhile(lambda device: device not in ("", "-1", "NoDevFiles"), visible.split(",")))
        gpus = min(gpus, len(shown))  # CUDA ignores what follows an invalid one
    return Resources(nodes=(Node(cpus=cpus, gpus=gpus, memory_bytes=_worker_memory_bytes()),))


def _worker_memory_bytes() -> int:
    """What Ray leaves to workers: it takes 30 % of the memory for its objects."""
    return int(0.7 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
