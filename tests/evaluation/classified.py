"""Made-up classifications: what a model's rows would be, and what is true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vision_batch.evaluation.classification import ClassificationMeasure
from vision_batch.evaluation.measure import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """`scores` (n, C) float32 and `truth` (n,) names; images that `failed` (n,) have no prediction."""

    labels: tuple[str, ...]
    scores: np.ndarray
    truth: np.ndarray
    failed: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Names (n,)."""
        return np.array(self.labels)[self.scores.argmax(axis=1)]

    def rows(self, k: int | None = None) -> pa.Table:
        """As they are joined; the best `k` classes are listed."""
        order = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        names = np.array(self.labels)[order]
        listed = np.take_along_axis(self.scores, order, axis=1)
        good = [not failed for failed in self.failed]

        def column(values: np.ndarray, kind: pa.DataType) -> pa.Array:
            return pa.array([value if ok else None for value, ok in zip(values.tolist(), good, strict=True)], kind)

        return pa.table(
            {
                "image_id": [f"{index}.jpg" for index in range(len(good))],
                "error_code": [None if ok else "truncated" for ok in good],
                "label": column(names[:, 0], pa.string()),
                "score": column(listed[:, 0], pa.float32()),
                "top_labels": column(names, pa.list_(pa.string())),
                "top_scores": column(listed, pa.list_(pa.float32())),
                "truth": pa.array(self.truth.tolist(), pa.string()),
            }
        )

    def values(self, k: int | None = None, pieces: int = 3) -> dict[tuple[str, str | None], Value]:
        """What the measure says, by metric and class."""
        measure = ClassificationMeasure(self.labels)
        tally = measure.tally()
        rows = self.rows(k)
        for some in np.array_split(np.arange(len(rows)), pieces):
            tally.add(measure.facts(rows.take(pa.array(some, pa.int64()))))
        return {(value.metric, value.label): value for value in tally.values()}


def classified(
    count: int = 400, classes: int = 5, *, seed: int = 0, failed: float = 0.0, truths: tuple[str, ...] | None = None
) -> Classified:
    """Scores that are right in about half of the images; `truths` are the names that are true of some."""
    random = np.random.default_rng(seed)
    labels = tuple(f"c{index}" for index in range(classes))
    names = truths or labels
    truth = np.array(names)[random.integers(0, len(names), count)]
    logits = random.normal(0, 1, (count, classes))
    for index, label in enumerate(labels):
        logits[truth == label, index] += 1.5
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Classified(
        labels=labels, scores=scores.astype(np.float32), truth=truth, failed=random.random(count) < failed
    )
