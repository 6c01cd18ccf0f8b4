"""Two predictions of the same images, measured together: what is resampled are images, with both.

The differences of a resample are those of the same images, so that what makes images hard for both cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.classification_tally import ClassificationFacts
from vision_batch.evaluation.embedding import NeighbourFacts
from vision_batch.evaluation.measure import ConfusionCell, Curve, Facts, Measure, Tally, Value
from vision_batch.evaluation.pairs import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedFacts:
    """The facts of n images, once for each of two predictions."""

    a: Facts
    b: Facts

    def __len__(self) -> int:
        return len(self.a)

    def take(self, indices: NDArray[np.int64]) -> PairedFacts:
        return PairedFacts(a=self.a.take(indices), b=self.b.take(indices))

    @classmethod
    def merged(cls, several: Sequence[PairedFacts]) -> PairedFacts:
        a, b = [each.a for each in several], [each.b for each in several]
        return cls(a=type(a[0]).merged(a), b=type(b[0]).merged(b))

    def disagreements(self) -> tuple[int, int] | None:
        """How many images only the one and only the other is right about; None where no image is right or wrong."""
        a, b = _is_right(self.a), _is_right(self.b)
        return None if a is None or b is None else (int((a & ~b).sum()), int((b & ~a).sum()))


class PairedMeasure:
    """A measure whose values are those of `b` less those of `a`, which have a measure each."""

    prediction_columns: tuple[str, ...] = ()
    optional_columns: tuple[str, ...] = ()

    def __init__(self, a: Measure[Any], b: Measure[Any]) -> None:
        self._a = a
        self._b = b
        self.truth_column = a.truth_column

    def facts(self, rows: Pair) -> PairedFacts:
        return PairedFacts(a=self._a.facts(rows[0]), b=self._b.facts(rows[1]))

    def tally(self, *, is_resample: bool = False, share: int = 1) -> PairedTally:
        tallies = (each.tally(is_resample=is_resample, share=2 * share) for each in (self._a, self._b))
        return PairedTally(*tallies)


class PairedTally:
    """The tallies of both."""

    def __init__(self, a: Tally[Any], b: Tally[Any]) -> None:
        self.a = a
        self.b = b

    def add(self, facts: PairedFacts, weights: NDArray[np.int64] | None = None) -> None:
        self.a.add(facts.a, weights)
        self.b.add(facts.b, weights)

    def values(self) -> list[Value]:
        """What has a value for both, in the order of the first."""
        others = {(value.metric, value.label): value.value for value in self.b.values()}
        return [
            replace(value, value=other - value.value)
            for value in self.a.values()
            if value.value is not None and (other := others.get((value.metric, value.label))) is not None
        ]

    def confusion(self) -> list[ConfusionCell]:
        """None of a difference."""
        return []

    def curves(self) -> list[Curve]:
        """None of a difference."""
        return []

    def notes(self) -> list[str]:
        return [f"{which}: {note}" for which, tally in (("A", self.a), ("B", self.b)) for note in tally.notes()]


def _is_right(facts: Facts) -> NDArray[np.bool_] | None:
    """Of n images (n,), where each is right or wrong: of embeddings, by the vote of the smallest k."""
    if isinstance(facts, ClassificationFacts):
        return np.asarray(facts.truth == facts.predicted, np.bool_)
    return facts.right[:, 0] if isinstance(facts, NeighbourFacts) else None
