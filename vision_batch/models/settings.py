"""The `model:` part of a spec."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from vision_batch.settings import Settings


class ModelSettings(Settings):
    """Where the model comes from. `labels` is a list (class index to name) or a file with one name a line."""

    source: str = Field(min_length=1)
    weights: str | None = None
    labels: list[str] | str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
