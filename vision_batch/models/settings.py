"""The `model:` part of a spec."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from vision_batch.models.prompts import Prompts
from vision_batch.settings import Settings


class ModelSettings(Settings):
    """Where the model comes from. `labels` is a list (class index to name) or a file with one name a line.

    `prompts` tells a model of images and texts its classes in words: a list of texts, which are the labels; label to
    text or texts; or, with `labels`, templates that have `{}` for the label. Several texts of a class are averaged.
    """

    source: str = Field(min_length=1)
    weights: str | None = None
    labels: list[str] | str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    prompts: Prompts | None = None
