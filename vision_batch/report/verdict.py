"""What the truth says of predictions: how good they are, and where they are most wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vision_batch.errors import SpecError
from vision_batch.evaluation.evaluate import evaluate
from vision_batch.evaluation.evaluation import Evaluation, Result
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.ledger.predictions import Predictions
from vision_batch.report.mistakes import worst_rows

RESAMPLES: Final = 200
"""For intervals: a fifth of what `evaluate` takes, so that a thousand classes take seconds and no minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`evaluation` is None without a truth, and where the predictions' own one is of no use, for this `reason`.

    `worst` are the rows that are most wrong, the worst first.
    """

    evaluation: Evaluation | None = None
    reason: str | None = None
    worst: tuple[Mapping[str, Any], ...] = ()

    @property
    def classes(self) -> list[str]:
        """Those that were measured on their own."""
        results = () if self.evaluation is None else self.evaluation.results
        return sorted({result.label for result in results if result.label is not None})

    @property
    def headline(self) -> Result | None:
        return None if self.evaluation is None else headline_of(self.evaluation)


def judged(predictions: Predictions, truth: TruthSettings | None) -> Verdict:
    """By `truth`, or by the predictions' own column. SpecError for a `truth` that does not fit."""
    if truth is None and "truth" not in predictions.schema.names:
        return Verdict()
    settings = EvaluateSettings(bootstrap=RESAMPLES)
    try:
        return Verdict(
            evaluation=evaluate(predictions, truth, settings),
            worst=tuple(worst_rows(predictions, truth, settings)),
        )
    except SpecError as error:
        if truth is not None:
            raise
        return Verdict(reason=f"{error}.")


def headline_of(found: Evaluation) -> Result | None:
    """The metric that says most: the first of all classes and images that has a value."""
    whole = (result for result in found.results if result.slice is None and result.label is None)
    return next((result for result in whole if result.value is not None), None)
