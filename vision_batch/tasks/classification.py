"""One label per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vision_batch.errors import ModelError
from vision_batch.tasks.task import Agreement

SELECT_UP_TO = 32
"""Below this many classes to keep, taking the largest again and again is faster than sorting every row."""

SAME_LABELS = 0.95
"""The share of images that must keep their label in a lower precision: trained classifiers change one in a hundred."""
SCORE_TOLERANCE = 0.02
"""How much no score may change in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """Softmax over C classes: the best class in `label`, the best `top_k` in `top_labels`.

    `top_labels` and `top_scores` leave out what scores less than `score_threshold`, and may thus be empty; `label`,
    `label_index` and `score` are the best class, whatever it scores. Scores and threshold are compared as float32.
    Without `labels` a class is called by its index. Classes with equal scores come in the order of their indices.
    """

    top_k: int
    score_threshold: float = 0.0
    labels: tuple[str, ...] | None

    def fields(self) -> list[pa.Field]:
        return [
            pa.field("label", pa.string()),
            pa.field("label_index", pa.int32()),
            pa.field("score", pa.float32()),
            pa.field("top_labels", pa.list_(pa.string())),
            pa.field("top_scores", pa.list_(pa.float32())),
        ]

    def check(self, outputs: Any, count: int | None = None) -> None:
        if not isinstance(outputs, np.ndarray):
            raise ModelError(
                f"the model returned {_described(outputs)}; classification needs one tensor of (N, C) logits: "
                "return it from forward()"
            )
        if outputs.ndim != 2 or outputs.shape[1] == 0 or not np.issubdtype(outputs.dtype, np.floating):
            raise ModelError(
                f"the model returned {outputs.dtype} of shape {outputs.shape}; classification needs floating-point "
                "logits of shape (N, C), one row per image and one column per class, without softmax"
            )
        if count is not None and outputs.shape[0] != count:
            raise ModelError(
                f"the model returned {outputs.shape[0]} rows for {count} images; classification needs one row per image"
            )
        if self.labels is not None and outputs.shape[1] != len(self.labels):
            raise ModelError(
                f"the model returned scores for {outputs.shape[1]} classes and model.labels has {len(self.labels)} "
                "names; give one name per class, in the order of the model's outputs"
            )

    def finite(self, outputs: np.ndarray) -> np.ndarray:
        return np.asarray(np.isfinite(outputs).all(axis=1))

    def agreement(self, exact: np.ndarray, lowered: np.ndarray) -> Agreement:
        """Close where nearly every image keeps its label and no score of any class moves by more than 0.02."""
        usable = self.finite(exact)
        if not usable.any() or not self.finite(lowered[usable]).all():
            return Agreement(is_close=False, text="it gives NaN or infinity, or fp32 gives nothing else")
        everything = np.broadcast_to(np.arange(exact.shape[1]), exact[usable].shape)
        scores, others = (_softmax_at(outputs[usable], everything) for outputs in (exact, lowered))
        same = int((scores.argmax(axis=1) == others.argmax(axis=1)).sum())
        moved = float(np.abs(scores - others).max())
        return Agreement(
            is_close=same >= SAME_LABELS * len(scores) and moved <= SCORE_TOLERANCE,
            text=f"{same} of {len(scores)} labels are those of fp32, and scores differ by at most {moved:.4f}",
        )

    def columns(self, outputs: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[pa.Array]:
        count, classes = outputs.shape
        best = _largest(outputs, min(self.top_k, classes))
        scores = _softmax_at(outputs, best)
        names = pa.array(self.labels or [str(index) for index in range(classes)], pa.string())
        listed = scores >= np.float32(self.score_threshold)
        offsets = np.zeros(count + 1, np.int32)
        listed.sum(axis=1).cumsum(out=offsets[1:])
        return [
            names.take(pa.array(best[:, 0])),
            pa.array(best[:, 0].astype(np.int32)),
            pa.array(scores[:, 0]),
            pa.ListArray.from_arrays(offsets, names.take(pa.array(best[listed]))),
            pa.ListArray.from_arrays(offsets, pa.array(scores[listed])),
        ]


def _largest(logits: np.ndarray, k: int) -> np.ndarray:
    """Indices (N, k) of the k largest of each row, best first; of equal ones the lower index."""
    if k > SELECT_UP_TO:
        return np.argsort(-logits, axis=1, kind="stable")[:, :k]
    left = logits.copy()
    rows = np.arange(len(left))
    best = np.empty((len(left), k), np.int64)
    for place in range(k):
        best[:, place] = left.argmax(axis=1)
        left[rows, best[:, place]] = -np.inf
    return best


def _softmax_at(logits: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Softmax of each row at `index` (N, k): float32. Shifted by the largest, summed in float64."""
    top = logits.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # a difference too large for float32 becomes -inf, and its share 0
        total = np.exp(logits - top).sum(axis=1, keepdims=True, dtype=np.float64)
    shifted = np.take_along_axis(logits, index, axis=1).astype(np.float64) - top
    return np.asarray(np.exp(shifted) / total, dtype=np.float32)


def _described(outputs: Any) -> str:
    if isinstance(outputs, dict):
        return f"a dict with {', '.join(map(str, outputs))}"
    if isinstance(outputs, (list, tuple)):
        return f"a {type(outputs).__name__} of {len(outputs)}"
    return f"a {type(outputs).__name__}"
