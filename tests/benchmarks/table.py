"""The measurements, in the order of the printed table."""

from __future__ import annotations

from tests.benchmarks import steady
from tests.benchmarks.measurement import Measurement

MEASUREMENTS: tuple[Measurement, ...] = (*steady.MEASUREMENTS,)
