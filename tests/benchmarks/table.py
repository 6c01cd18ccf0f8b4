"""The measurements, in the order of the printed table."""

from __future__ import annotations

from tests.benchmarks import (
    driver_memory,
    first_prediction,
    gpu,
    gpu_training,
    idle,
    ingest,
    large_images,
    small_objects,
    steady,
    whole_job,
)
from tests.benchmarks.measurement import Measurement

MEASUREMENTS: tuple[Measurement, ...] = (
    *steady.MEASUREMENTS,
    whole_job.MEASUREMENT,
    first_prediction.MEASUREMENT,
    small_objects.MEASUREMENT,
    large_images.MEASUREMENT,
    *driver_memory.MEASUREMENTS,
    *idle.MEASUREMENTS,
    ingest.MEASUREMENT,
    *gpu.MEASUREMENTS,
    gpu_training.MEASUREMENT,
)
