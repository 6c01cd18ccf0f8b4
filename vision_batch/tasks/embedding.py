"""One vector per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import ModelError
from vision_batch.tasks.logits import NO_NUMBERS, NOT_COMPARABLE, described
from vision_batch.tasks.settings import Number, Pooling
from vision_batch.tasks.task import Agreement, View

SAME_COSINE: Final = 0.999
"""Of a vector in a lower precision with the exact one. Measured on four pictures, ViT and DINOv2 of the base size with
random weights, and those three times as large: 0.99993 or more in bf16, where two pictures have 0.88 to 0.93."""

LARGEST: Final[dict[Number, float]] = {"float32": float(np.finfo(np.float32).max), "float16": 65504.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A vector of D numbers, the model's own D, in the column `embedding`; with `normalise` its length (L2) is 1.

    The column is a list<float32> or list<float16> and no list of a fixed size: of those pyarrow 25, and so pandas and
    Hugging Face datasets, cannot read back a null, which an error row has. Every list of an output has D numbers.

    An image has no prediction where a number is NaN or infinite or, as float16, would be, and with `normalise` where
    all numbers are zero: that vector has no direction. `labels` mean nothing here, and `pooling` is the model's affair:
    it gives (N, D).
    """

    normalise: bool
    dtype: Number
    pooling: Pooling
    labels: tuple[str, ...] | None

    lies_on_image: ClassVar[bool] = False

    @property
    def unusable(self) -> str:
        if self.normalise:
            return f"{NO_NUMBERS}, or zeros only, a vector that has no direction"
        return f"{NO_NUMBERS}, or a number above {LARGEST[self.dtype]:g}, the largest {self.dtype}"

    def fields(self) -> list[pa.Field]:
        return [pa.field("embedding", pa.list_(self._type))]

    def check(self, outputs: Any, count: int | None = None) -> None:
        if not isinstance(outputs, np.ndarray):
            raise ModelError(f"the model returned {described(outputs)}; embedding needs one tensor (N, D)")
        found = f"the model returned {outputs.dtype} of shape {outputs.shape}"
        if outputs.ndim in (3, 4):
            raise ModelError(f"{found}, tokens or a map; set task.pooling to say which vector of them is meant")
        if outputs.ndim != 2 or not outputs.shape[1] or not np.issubdtype(outputs.dtype, np.floating):
            raise ModelError(f"{found}; embedding needs floating-point vectors of shape (N, D) of N images")
        if count is not None and len(outputs) != count:
            raise ModelError(f"the model returned {len(outputs)} vectors for {count} images; expected one per image")

    def finite(self, outputs: NDArray[np.float32]) -> NDArray[np.bool_]:
        if self.normalise:
            return _directed(outputs)
        return np.asarray((np.abs(outputs) <= LARGEST[self.dtype]).all(axis=1))

    def agreement(self, exact: NDArray[np.float32], lowered: NDArray[np.float32]) -> Agreement:
        """Close where every vector has the direction of the exact one, but for a cosine of 0.999."""
        usable = _directed(exact)
        if not usable.any() or not _directed(lowered[usable]).all():
            return NOT_COMPARABLE
        least = float((_unit(exact[usable]) * _unit(lowered[usable])).sum(axis=1).min())
        return Agreement(
            is_close=least >= SAME_COSINE, text=f"vectors have a cosine of {least:.5f} or more with those of fp32"
        )

    def columns(self, outputs: NDArray[np.float32], views: Sequence[View], model_px: tuple[int, int]) -> list[pa.Array]:
        count, size = outputs.shape
        values = (_unit(outputs) if self.normalise else outputs).astype(self.dtype)
        offsets = np.arange(count + 1, dtype=np.int32) * size
        return [pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), self._type))]

    @property
    def _type(self) -> pa.DataType:
        return pa.float16() if self.dtype == "float16" else pa.float32()


def _directed(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Bool (N,): which are numbers that are not all zero."""
    return np.asarray(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each with a length of 1; in float64, in which no square of a float32 overflows or vanishes."""
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))
