"""The `task:` part of a spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vision_batch.settings import Settings


class TaskSettings(Settings):
    """What a prediction means and how much of it is kept."""

    type: Literal["classification"]
    top_k: Annotated[int, Field(ge=1)] = 5
