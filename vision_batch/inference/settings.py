"""The `compute:` and `limits:` parts of a spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vision_batch.settings import Settings

Count = Annotated[int, Field(ge=1)]
Auto = Literal["auto"]
AUTO = "auto"
EXACT = "fp32"
"""The precision that others are measured against."""


class ComputeSettings(Settings):
    """Where stages are placed and how much they take at once. Only `precision` can change a prediction.

    `compile` has torch compile the model, for one batch size. On a cluster that has no room for a predictor with its
    `gpus_per_predictor` a run waits; for all `predictors` it does not.
    """

    layout: Literal["auto", "joined", "split"] = "auto"
    batch_size: Auto | Count = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    predictors: Auto | Count = "auto"
    gpus_per_predictor: Auto | Annotated[float, Field(ge=0)] = "auto"
    preprocessors: Auto | Count = "auto"


class LimitsSettings(Settings):
    """`max_pixels` bounds an image before it is decoded; `max_error_fraction` decides between exit 0 and 3."""

    max_pixels: Annotated[int, Field(ge=1)] = 178_956_970
    max_error_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
