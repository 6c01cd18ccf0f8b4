"""The seam between a model's numbers and the table that a user reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Whether predictions in a lower precision are as good as the exact ones, and `text`, by what this is judged."""

    is_close: bool
    text: str


class Task(Protocol):
    """What one kind of prediction means: its columns, and how a model's outputs become them.

    `outputs` is what the predictor returns for N images: float32 numpy on the CPU, in the shape that the task's model
    answers with.
    """

    def fields(self) -> list[pa.Field]:
        """The task's columns; all nullable, for an error row has none of them."""

    def check(self, outputs: Any, count: int | None = None) -> None:
        """ModelError unless `outputs` fits the task and its labels, and is for `count` images where that is given."""

    def finite(self, outputs: Any) -> np.ndarray:
        """Bool (N,): which images have a prediction. A NaN or an infinity is none."""

    def agreement(self, exact: Any, lowered: Any) -> Agreement:
        """Of outputs for the same images, those in fp32 and those in a lower precision."""

    def columns(self, outputs: Any, sizes: Sequence[tuple[int, int]]) -> list[pa.Array]:
        """One array of N values per field, in the order of `fields`.

        `sizes` are (width, height) of the full images in pixels. Every image must be finite.
        """
