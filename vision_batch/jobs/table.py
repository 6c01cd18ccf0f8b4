"""The kinds of job: one line a kind."""

from __future__ import annotations

from vision_batch.jobs.settings import PredictSettings

JOBS = {
    "predict": PredictSettings,
}
