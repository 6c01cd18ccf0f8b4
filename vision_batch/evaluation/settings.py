"""The `predictions:`, `truth:` and `evaluate:` parts of a spec."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from vision_batch.settings import Settings

TruthFormat: TypeAlias = Literal["auto", "parquet", "folder", "coco", "masks"]


class PredictionsSettings(Settings):
    """What is evaluated: an output, or any Parquet with its columns (a file, a folder, a glob)."""

    uri: str = Field(min_length=1)


class TruthSettings(Settings):
    """What is right, by `image_id`.

    parquet: `column` (default: the task's own, `label`, `labels`, `boxes` or `mask_png`) by `id_column`. folder: a
    folder of images for each class. coco: a JSON file of COCO, by file name. masks: a folder of PNGs, by file name.
    """

    uri: str = Field(min_length=1)
    format: TruthFormat = "auto"
    id_column: str = "image_id"
    column: str | None = None


class EvaluateSettings(Settings):
    """How it is evaluated.

    `by` are columns whose every value is measured on its own too. Intervals come from `bootstrap` resamples, of which 0
    makes none. `failed`: whether images without a prediction count as wrong where the metric allows it, or not at all.
    `k` are the ranks of recall@k and of nearest neighbours, for embeddings.
    """

    by: list[str] = Field(default_factory=list)
    bootstrap: Annotated[int, Field(ge=0, le=100_000)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0
    failed: Literal["wrong", "left_out"] = "wrong"
    k: list[Annotated[int, Field(ge=1, le=1000)]] = Field(default_factory=lambda: [1, 5, 10], min_length=1)
