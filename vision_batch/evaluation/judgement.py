"""Which of two predictions is better by the truth, and whether by more than noise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from vision_batch.evaluation.bootstrap import intervals
from vision_batch.evaluation.comparison import Difference, Judgement
from vision_batch.evaluation.mcnemar import mcnemar
from vision_batch.evaluation.measure import LooksTwice, Measure
from vision_batch.evaluation.paired import PairedFacts, PairedMeasure
from vision_batch.evaluation.pairs import Pair, Pairs
from vision_batch.evaluation.sample import Sample
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.evaluation.table import measure_for
from vision_batch.evaluation.truth import open_truth
from vision_batch.ledger.predictions import Predictions


def judged(a: Predictions, b: Predictions, truth: TruthSettings | None, settings: EvaluateSettings) -> Judgement | None:
    """Both measured by `truth`, or else the column `truth` of `a`; None where there is neither, or nothing in it."""
    if truth is None and not _has_truth(a):
        return None
    measures = measure_for(a, settings), measure_for(b, settings)
    opened = None if truth is None else open_truth(truth, measures[0].truth_column)
    columns = _columns(measures[0], a), _columns(measures[1], b)
    pairs = Pairs(a=a, b=b, columns=columns, has_truth=True, truth=opened)
    count = _Count(PairedMeasure(*measures), settings)
    for pair in _rows(*measures, pairs):
        count.add(pair)
    return Judgement(
        truth=a.uri if opened is None else opened.uri,
        images=count.images,
        differences=tuple(count.differences()),
        mcnemar=mcnemar(*count.disagreements) if count.disagreements else None,
        notes=tuple(count.tally.notes()),
    )


def _columns(measure: Measure[Any], predictions: Predictions) -> list[str]:
    optional = (name for name in measure.optional_columns if name in predictions.schema.names)
    return ["error_code", *measure.prediction_columns, *optional]


def _has_truth(predictions: Predictions) -> bool:
    """Whether an image has one of its own."""
    if "truth" not in predictions.schema.names:
        return False
    return any(batch.column("truth").null_count < len(batch) for batch in predictions.batches(["truth"]))


def _rows(a: Measure[Any], b: Measure[Any], pairs: Pairs) -> Iterator[Pair]:
    """The rows that both measures are asked for facts of."""

    def one(side: int) -> Iterator[pa.Table]:
        return (pair[side] for pair in pairs.of(pairs.joined()))

    if isinstance(a, LooksTwice) and isinstance(b, LooksTwice):
        return zip(a.rows(partial(one, 0)), b.rows(partial(one, 1)), strict=True)
    return pairs.of(pairs.joined())


class _Count:
    """What both come to, and the sample for the intervals.

    `disagreements` are the images that only the one and only the other is right about; None where no image is simply
    right or wrong.
    """

    def __init__(self, measure: PairedMeasure, settings: EvaluateSettings) -> None:
        self._measure = measure
        self._settings = settings
        self._sample: Sample[PairedFacts] = Sample(settings.seed)
        self.tally = measure.tally()
        self.images = 0
        self.disagreements: tuple[int, int] | None = (0, 0)

    def add(self, pair: Pair) -> None:
        facts = self._measure.facts(pair)
        self.images += len(facts)
        self.tally.add(facts)
        found = facts.disagreements()
        if self.disagreements is not None:
            a, b = self.disagreements
            self.disagreements = None if found is None else (a + found[0], b + found[1])
        if self._settings.bootstrap:
            self._sample.add(facts, np.empty((len(facts), 0), np.int32))

    def differences(self) -> Iterator[Difference]:
        """Of the metrics of all classes together."""
        values = [value for value in self.tally.values() if value.label is None and value.value is not None]
        taken, found = self._sample.taken(), {}
        if taken is not None:
            found = intervals(
                self._measure,
                taken[0],
                images=self.images,
                values=values,
                resamples=self._settings.bootstrap,
                seed=self._settings.seed,
            )
        of_a, of_b = (
            {each.metric: each.value for each in one.values() if each.label is None}
            for one in (self.tally.a, self.tally.b)
        )
        for value in values:
            low, high = found.get((value.metric, None), (None, None))
            a, b = of_a[value.metric], of_b[value.metric]
            if a is not None and b is not None:
                yield Difference(metric=value.metric, a=a, b=b, difference=b - a, low=low, high=high)
