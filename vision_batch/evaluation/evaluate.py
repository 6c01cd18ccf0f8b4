"""Measures predictions against the truth: a pass or two over the rows, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Generic

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.bootstrap import intervals
from vision_batch.evaluation.evaluation import Evaluation, Result
from vision_batch.evaluation.join import Joined
from vision_batch.evaluation.measure import F, LooksTwice, Measure, Tally, Value
from vision_batch.evaluation.sample import Sample
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.evaluation.slices import MOST_VALUES, Slices
from vision_batch.evaluation.table import measure_for
from vision_batch.evaluation.truth import Truth, open_truth
from vision_batch.ledger.predictions import KIND_COLUMNS, Predictions


def evaluate(predictions: Predictions, truth: TruthSettings | None, settings: EvaluateSettings) -> Evaluation:
    """What the predictions are worth by `truth`, whose URI is normalised; None takes their own column `truth`.

    SpecError where columns are missing, ids repeat, or no image has a truth.
    """
    measure = measure_for(predictions, settings)
    opened = None if truth is None else open_truth(truth, measure.truth_column)
    of_predictions, of_truth = sliced(predictions, opened, settings.by)
    optional = [name for name in measure.optional_columns if name in predictions.schema.names]
    columns = ["error_code", KIND_COLUMNS[predictions.kind], *measure.prediction_columns, *optional, *of_predictions]
    passes: list[_Pass] = []

    def joined() -> _Pass:
        own = list(dict.fromkeys(columns))
        passes.append(_Pass(Joined(predictions=predictions, columns=own, truth=opened, truth_columns=of_truth)))
        return passes[-1]

    count = _Count(measure, settings)
    for rows in measure.rows(joined) if isinstance(measure, LooksTwice) else joined():
        count.add(rows, is_failed(rows, predictions))
    return Evaluation(
        kind=predictions.kind,
        predictions=predictions.uri,
        truth=None if opened is None else opened.uri,
        images=passes[-1].joined.images,
        images_failed=passes[-1].failed,
        images_without_truth=passes[-1].joined.without_truth,
        truths_without_image=passes[-1].joined.without_image,
        results=tuple(count.results()),
        confusion=tuple(count.whole.confusion()),
        curves=tuple(count.whole.curves()),
        notes=(*count.whole.notes(), *count.slices.notes()),
    )


def is_failed(rows: pa.Table, predictions: Predictions) -> NDArray[np.bool_]:
    """Of n rows (n,): images with an error, or without the task's own column."""
    failed = pc.or_(rows["error_code"].is_valid(), rows[KIND_COLUMNS[predictions.kind]].is_null())
    return np.asarray(failed, np.bool_)


class _Pass:
    """All joined rows, once; and how many of the images `failed`."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        self.failed = 0

    def __iter__(self) -> Iterator[pa.Table]:
        for rows in self.joined:
            self.failed += int(is_failed(rows, self.joined.predictions).sum())
            yield rows


def sliced(predictions: Predictions, truth: Truth | None, by: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which of the columns `by` are the predictions' and which the truth's; SpecError for those of neither."""
    own, others = [], []
    known = (*predictions.schema.names, *(truth.columns if truth else ()))
    for name in dict.fromkeys(by):
        if name == "truth":
            continue
        if name in predictions.schema.names:
            own.append(name)
        elif truth is not None and name in truth.columns:
            others.append(name)
        else:
            raise SpecError(Problem("evaluate.by", f"no column {name!r}", f"one of {', '.join(dict.fromkeys(known))}"))
    return own, others


class _Count(Generic[F]):
    """The tallies of all images and of each slice, and the sample for the intervals."""

    def __init__(self, measure: Measure[F], settings: EvaluateSettings) -> None:
        self._measure = measure
        self._settings = settings
        self._sample: Sample[F] = Sample(settings.seed)
        self._by_slice: dict[int, Tally[F]] = {}
        self._images: dict[int | None, int] = {None: 0}
        self.slices = Slices(settings.by)
        self.whole = measure.tally()

    def add(self, rows: pa.Table, failed: NDArray[np.bool_]) -> None:
        """Takes in n joined rows, of which some images failed (n,)."""
        if self._settings.failed == "left_out":
            rows = rows.filter(pa.array(~failed))
        facts, numbers = self._measure.facts(rows), self.slices.numbers(rows)
        self.whole.add(facts)
        self._images[None] += len(facts)
        for number in np.unique(numbers).tolist():
            some = np.flatnonzero((numbers == number).any(axis=1))
            self._tally(number).add(facts.take(some))
            self._images[number] = self._images.get(number, 0) + len(some)
        if self._settings.bootstrap:
            self._sample.add(facts, numbers)

    def results(self) -> list[Result]:
        """Of all images, then of each slice by name, numbers in names by their value."""
        sample = self._sample.taken()
        results = self._results(None, None, self.whole, sample[0] if sample else None)
        names = self.slices.names
        for number in sorted(self._by_slice, key=lambda number: _by_value(names[number])):
            facts = None
            if sample is not None and len(some := np.flatnonzero((sample[1] == number).any(axis=1))):
                facts = sample[0].take(some)
            results += self._results(number, names[number], self._by_slice[number], facts)
        return results

    def _results(self, number: int | None, name: str | None, tally: Tally[F], facts: F | None) -> list[Result]:
        values = tally.values()
        found: Any = {}
        if facts is not None:
            found = intervals(
                self._measure,
                facts,
                images=self._images[number],
                values=values,
                resamples=self._settings.bootstrap,
                seed=self._settings.seed,
            )
        return [_result(value, name, found.get((value.metric, value.label), (None, None))) for value in values]

    def _tally(self, number: int) -> Tally[F]:
        if number not in self._by_slice:
            self._by_slice[number] = self._measure.tally(share=MOST_VALUES)
        return self._by_slice[number]


def _by_value(name: str) -> list[str | int]:
    """What sorts `width=90` before `width=100`."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _result(value: Value, name: str | None, interval: tuple[float | None, float | None]) -> Result:
    return Result(
        metric=value.metric,
        label=value.label,
        slice=name,
        value=value.value,
        low=interval[0],
        high=interval[1],
        support=value.support,
    )
