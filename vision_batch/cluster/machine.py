"""What this machine has, found without starting Ray."""

from __future__ import annotations

import os
from pathlib import Path

from vision_batch.inference.layout import Resources

NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def machine_resources() -> Resources:
    """CPUs that this process may use and NVIDIA GPUs that its driver and CUDA_VISIBLE_DEVICES show."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = len(list(NVIDIA_GPUS.iterdir())) if NVIDIA_GPUS.is_dir() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = min(gpus, len([device for device in visible.split(",") if device not in ("", "-1")]))
    return Resources(cpus=cpus, gpus=gpus, gpu_node_cpus=cpus if gpus else 0)
