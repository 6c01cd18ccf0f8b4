"""The predict job with the tiny model, as a user starts it: a process of its own, from command to exit."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measurement import CannotMeasureError
from tests.benchmarks.process import Ran, run

TINY = Path(__file__).with_name("tiny.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """`summary` is what `run --json` says; `first_prediction_s` counts from the command to the model's first answer."""

    ran: Ran
    summary: Mapping[str, Any]
    first_prediction_s: float

    @property
    def steady(self) -> float:
        """Images per second from the first batch on."""
        if self.summary["images_per_second"] is None:
            raise CannotMeasureError("the job was over too soon for a steady state: take more images")
        return float(self.summary["images_per_second"])


def run_job(
    scratch: Path,
    *,
    data: str,
    images: int,
    preprocess: Mapping[str, Any],
    compute: Mapping[str, Any] | None = None,
    pause_s: float = 0.0,
    environment: Mapping[str, str] | None = None,
    **input_settings: str,
) -> JobRun:
    """Runs the job on `data` into the local folder `scratch/out`, afresh; all `images` must get a prediction.

    The model takes `pause_s` longer for each batch than it computes.
    """
    stamp, spec = scratch / "stamp", scratch / "spec.yaml"
    shutil.rmtree(scratch / "out", ignore_errors=True)
    stamp.unlink(missing_ok=True)
    shutil.copy(TINY, scratch)
    job = {
        "job": "predict",
        "input": {"uri": data, **input_settings},
        "model": {"source": "python:tiny:build", "options": {"stamp": str(stamp), "pause_s": pause_s}},
        "task": {"type": "classification"},
        "preprocess": preprocess,
        "output": {"uri": str(scratch / "out")},
        "compute": compute or {},
    }
    spec.write_text(json.dumps(job))  # JSON is YAML
    ran = run([sys.executable, "-m", "vision_batch", "run", str(spec), "--json"], environment)
    summary = json.loads(ran.output.splitlines()[-1])
    if summary["images_ok"] != images:
        raise RuntimeError(f"{images:,} images have {summary['images_ok']:,} predictions: {summary}")
    return JobRun(ran=ran, summary=summary, first_prediction_s=float(stamp.read_text()) - ran.started)
