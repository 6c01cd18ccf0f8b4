"""One label per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.tasks.class_index import class_index, class_name
from vision_batch.tasks.logits import NO_NUMBERS, NOT_COMPARABLE, check_logits, comparable, finite
from vision_batch.tasks.task import Agreement, Target, View

if TYPE_CHECKING:
    import torch

    from vision_batch.images.example import Example

SELECT_UP_TO = 32
"""Below this many classes to keep, taking the largest again and again is faster than sorting every row."""

SAME_LABELS = 0.95
"""The share of images that must keep their label in a lower precision: trained classifiers change one in a hundred."""
SCORE_TOLERANCE = 0.02
"""How much no score may change in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """Softmax over C classes of logits / `temperature`: the best class in `label`, the best `top_k` in `top_labels`.

    `top_labels` and `top_scores` leave out what scores less than `score_threshold`, and may thus be empty; `label`,
    `label_index` and `score` are the best class, whatever it scores. Scores and threshold are compared as float32.
    Without `labels` a class is called by its index. Classes with equal scores come in the order of their indices.
    """

    top_k: int
    score_threshold: float = 0.0
    temperature: float = 1.0
    labels: tuple[str, ...] | None

    lies_on_image: ClassVar[bool] = False
    unusable: ClassVar[str] = NO_NUMBERS
    headline: ClassVar[str] = "accuracy"
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy", "focal", "bce", "mse", "huber")
    default_loss: ClassVar[str] = "cross_entropy"

    def fields(self) -> list[pa.Field]:
        return [
            pa.field("label", pa.string()),
            pa.field("label_index", pa.int32()),
            pa.field("score", pa.float32()),
            pa.field("top_labels", pa.list_(pa.string())),
            pa.field("top_scores", pa.list_(pa.float32())),
        ]

    def check(self, outputs: Any, count: int | None = None) -> None:
        check_logits(outputs, count, self.labels, axes="(N, C)", what="classification")

    def finite(self, outputs: np.ndarray) -> np.ndarray:
        return finite(outputs)

    def agreement(self, exact: np.ndarray, lowered: np.ndarray) -> Agreement:
        """Close where nearly every image keeps its label and no score of any class moves by more than 0.02."""
        usable = comparable(exact, lowered)
        if usable is None:
            return NOT_COMPARABLE
        everything = np.broadcast_to(np.arange(exact.shape[1]), exact[usable].shape)
        scores, others = (_softmax_at(outputs[usable], everything, self.temperature) for outputs in (exact, lowered))
        same = int((scores.argmax(axis=1) == others.argmax(axis=1)).sum())
        moved = float(np.abs(scores - others).max())
        return Agreement(
            is_close=same >= SAME_LABELS * len(scores) and moved <= SCORE_TOLERANCE,
            text=f"{same} of {len(scores)} labels are those of fp32, and scores differ by at most {moved:.4f}",
        )

    def columns(self, outputs: np.ndarray, views: Sequence[View], model_px: tuple[int, int]) -> list[pa.Array]:
        count, classes = outputs.shape
        best = _largest(outputs, min(self.top_k, classes))
        scores = _softmax_at(outputs, best, self.temperature)
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

    def names(self, truth: Any) -> tuple[str, ...]:
        return (class_name(truth),)

    def target(self, truth: Any) -> Target:
        return Target(value=class_index(class_name(truth), self.labels or ()))

    def collate(self, targets: Sequence[Target], examples: Sequence[Example]) -> NDArray[np.int64]:
        return np.array([target.value for target in targets], np.int64)

    def metrics(self) -> ClassificationMetrics:
        return ClassificationMetrics(classes=len(self.labels or ()), top_k=self.top_k)


class ClassificationMetrics:
    """`accuracy`, `top_<k>_accuracy` where there are more than k classes, and `macro_f1`.

    The last is the mean over the classes that occur in truths or predictions, as scikit-learn's. A state is three
    counts per class (right, predicted, true), and one of those among the best k.
    """

    def __init__(self, *, classes: int, top_k: int) -> None:
        self._classes = classes
        self._top_k = top_k
        self._state = np.zeros(3 * classes + 1)

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        best = outputs.argmax(dim=1)
        right = best[best == targets]
        counts = (values.bincount(minlength=self._classes) for values in (right, best, targets))
        among = outputs.topk(min(self._top_k, self._classes), dim=1).indices == targets[:, None]
        self._state += np.array([*(n for part in counts for n in part.tolist()), among.sum().item()])

    def state(self) -> NDArray[np.float64]:
        return self._state.copy()

    def result(self, state: NDArray[np.float64]) -> dict[str, float]:
        right, predicted, true = state[:-1].reshape(3, self._classes)
        count = true.sum()
        if not count:
            return {}
        occurs = predicted + true > 0
        top_k = {f"top_{self._top_k}_accuracy": state[-1] / count} if 1 < self._top_k < self._classes else {}
        f1 = 2 * right[occurs] / (predicted + true)[occurs]
        named = {"accuracy": right.sum() / count, **top_k, "macro_f1": f1.mean()}
        return {name: float(value) for name, value in named.items()}


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


def _softmax_at(logits: np.ndarray, index: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of each row, divided by `temperature`, at `index` (N, k): float32. Shifted by the largest, summed in
    float64."""
    top = logits.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # a difference too large for a float becomes -inf, and its share 0
        apart = logits - top if temperature == 1 else (logits.astype(np.float64) - top) / temperature
        total = np.exp(apart).sum(axis=1, keepdims=True, dtype=np.float64)
        shifted = (np.take_along_axis(logits, index, axis=1).astype(np.float64) - top) / temperature
    return np.asarray(np.exp(shifted) / total, dtype=np.float32)
