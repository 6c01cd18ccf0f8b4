"""The base of every part of a spec: strict, immutable pydantic models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

SECRET_WORDS = ("SECRET", "TOKEN", "PASSWORD", "KEY")
"""An environment variable with one of them in its name is a secret: no spec and no profile holds it."""


class Settings(BaseModel):
    """Unknown keys are refused, values are not coerced across types, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)
