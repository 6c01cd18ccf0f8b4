"""An evaluate job: predictions are measured, and the results lie in its output."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from vision_batch.evaluation.evaluate import evaluate, sliced
from vision_batch.evaluation.evaluation import Evaluation
from vision_batch.evaluation.results import demand_apart, write_results
from vision_batch.evaluation.table import measure_for
from vision_batch.evaluation.truth import Truth, open_truth
from vision_batch.jobs.settings import EvaluateJobSettings
from vision_batch.jobs.spec import AnySpec, spec_of_kind
from vision_batch.ledger.predictions import Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSummary:
    """How a run of an evaluate job ended; `output` is the folder of the results."""

    evaluation: Evaluation
    seconds: float
    output: str
    status: str = "done"

    def as_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            **self.evaluation.as_dict(),
            "seconds": self.seconds,
            "output": self.output,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateForecast:
    """The figures of `plan --json` for an evaluate job. `truth` is None where the predictions bring their own."""

    kind: str
    predictions: str
    rows: int
    truth: str | None
    slices: tuple[str, ...]
    resamples: int
    output: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_evaluate(spec: AnySpec) -> EvaluateSummary:
    """Measures and writes the results; run again, it measures what is there then. SpecError for what is wrong."""
    settings = spec_of_kind(spec, EvaluateJobSettings).settings
    started = time.monotonic()
    predictions = Predictions.open(settings.predictions.uri)
    demand_apart(predictions, settings.output.uri)
    evaluation = evaluate(predictions, settings.truth, settings.evaluate)
    write_results(evaluation, settings.output.uri)
    return EvaluateSummary(evaluation=evaluation, seconds=time.monotonic() - started, output=settings.output.uri)


def forecast_evaluate(spec: AnySpec) -> EvaluateForecast:
    """Looks at the predictions' footers and where the truth is, and reads no row."""
    settings = spec_of_kind(spec, EvaluateJobSettings).settings
    predictions, truth = opened(settings)
    return EvaluateForecast(
        kind=predictions.kind,
        predictions=predictions.uri,
        rows=predictions.rows,
        truth=None if truth is None else truth.uri,
        slices=tuple(settings.evaluate.by),
        resamples=settings.evaluate.bootstrap,
        output=settings.output.uri,
    )


def opened(settings: EvaluateJobSettings) -> tuple[Predictions, Truth | None]:
    """Predictions and truth, of columns that go together; SpecError where they do not."""
    predictions = Predictions.open(settings.predictions.uri)
    demand_apart(predictions, settings.output.uri)
    measure = measure_for(predictions, settings.evaluate)
    truth = None if settings.truth is None else open_truth(settings.truth, measure.truth_column)
    sliced(predictions, truth, settings.evaluate.by)
    return predictions, truth
