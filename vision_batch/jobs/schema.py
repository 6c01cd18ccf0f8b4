"""The JSON Schema of a spec."""

from __future__ import annotations

from typing import Any

from vision_batch.jobs.table import JOBS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def spec_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of every kind of spec."""
    schemas = [settings.model_json_schema() for settings in JOBS.values()]
    body = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {"$schema": DIALECT, **body, "title": "A spec of vision-batch"}
