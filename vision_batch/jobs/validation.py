"""A spec's plain values to the settings of its kind of job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vision_batch.documents.validation import settings_of_kind, validate_settings
from vision_batch.jobs.settings import JobSettings
from vision_batch.jobs.table import JOBS


def validate(document: Mapping[str, Any]) -> JobSettings:
    """The settings of the job that `document` describes. SpecError with every problem."""
    model = settings_of_kind("job", document, JOBS, what="kinds of job")
    return validate_settings(model, document, what="the spec")
