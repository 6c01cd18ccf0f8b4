"""The measurements, in the order of the printed table."""

from __future__ import annotations

from tests.benchmarks import first_prediction, steady, whole_job
from tests.benchmarks.measurement import Measurement

MEASUREMENTS: tuple[Measurement, ...] = (
    *steady.MEASUREMENTS,
    whole_job.MEASUREMENT,
    first_prediction.MEASUREMENT,
)
