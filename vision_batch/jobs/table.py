"""The kinds of job: one line a kind."""

from __future__ import annotations

from vision_batch.jobs.settings import EvaluateJobSettings, JobSettings, PredictSettings, TrainJobSettings

JOBS: dict[str, type[JobSettings]] = {
    "predict": PredictSettings,
    "train": TrainJobSettings,
    "evaluate": EvaluateJobSettings,
}
