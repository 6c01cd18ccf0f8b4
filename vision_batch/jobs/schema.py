"""The JSON Schema of a spec."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from vision_batch.jobs.table import JOBS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def spec_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of every kind of spec."""
    kinds, shared = models_json_schema([(settings, "validation") for settings in JOBS.values()])
    return {"$schema": DIALECT, "oneOf": list(kinds.values()), **shared, "title": "A spec of vision-batch"}
