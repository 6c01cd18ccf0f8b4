"""The `task:` part of a spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vision_batch.settings import Settings


class TaskSettings(Settings):
    """What a prediction means and how much of it is kept.

    Of an image's classes the best `top_k` are listed, and of these the ones whose score is `score_threshold` or more.
    """

    type: Literal["classification"]
    top_k: Annotated[int, Field(ge=1)] = 5
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
