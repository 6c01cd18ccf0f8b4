"""Compares two predictions of the same images: what changed, and, with the truth, which is better."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.agreement import AGREEMENTS, Compare, boxes
from vision_batch.evaluation.agreement_tally import AgreementTally
from vision_batch.evaluation.bootstrap import intervals
from vision_batch.evaluation.comparison import CHANGED, Comparison, Difference, Judgement
from vision_batch.evaluation.evaluate import is_failed
from vision_batch.evaluation.mcnemar import mcnemar
from vision_batch.evaluation.measure import LooksTwice, Measure
from vision_batch.evaluation.paired import PairedFacts, PairedMeasure
from vision_batch.evaluation.pairs import Pair, Pairs
from vision_batch.evaluation.sample import Sample
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
from vision_batch.evaluation.table import measure_for
from vision_batch.evaluation.truth import open_truth
from vision_batch.ledger.predictions import KIND_COLUMNS, Predictions

Sink: TypeAlias = Callable[[pa.Table], None]


def compare(
    a: Predictions,
    b: Predictions,
    truth: TruthSettings | None,
    settings: EvaluateSettings,
    *,
    changed: Sink | None = None,
    min_score: float = 0,
) -> Comparison:
    """What differs between `a` and `b`, which are joined by `image_id`; `changed` gets the images that changed.

    Of boxes those that score less than `min_score` are not compared; the truth judges all.

    `truth`, whose URI is normalised, or else a column `truth` of `a`, says which is better. SpecError where the two are
    of different kinds or have no image in common, and where ids repeat.
    """
    if a.kind != b.kind:
        raise SpecError(Problem("compare", f"predictions of {a.kind} and of {b.kind}", "two of one kind"))
    column = KIND_COLUMNS[a.kind]
    pairs = Pairs(a=a, b=b, columns=(["error_code", column], ["error_code", column]))
    joined = pairs.joined()
    called = {str(index): name for index, name in enumerate(a.labels or b.labels or ())}
    tally = AgreementTally(a.kind, called if a.kind == "segmentation" else {}, settings.seed)
    agree = partial(boxes, min_score=min_score) if a.kind == "detection" else AGREEMENTS[a.kind]
    failed = np.zeros(3, np.int64)
    for pair in pairs.of(joined):
        of_a, of_b = (is_failed(table, of) for table, of in zip(pair, (a, b), strict=True))
        failed += [np.count_nonzero(of_a & of_b), np.count_nonzero(of_a & ~of_b), np.count_nonzero(of_b & ~of_a)]
        for table in _changed(pair, of_a, of_b, agree, tally):
            if changed is not None and len(table):
                changed(table)
    return Comparison(
        kind=a.kind,
        a=a.uri,
        b=b.uri,
        images=joined.images,
        only_in_a=joined.without_image,
        only_in_b=joined.without_truth,
        failed_in_both=int(failed[0]),
        failed_only_in_a=int(failed[1]),
        failed_only_in_b=int(failed[2]),
        compared=tally.images,
        changed=tally.changed,
        agreement=tally.numbers(),
        classes=tally.classes(),
        changes=tally.changes(),
        kinds_of_change=tally.kinds_of_change,
        judgement=_judged(a, b, truth, settings),
    )


def _changed(
    pair: Pair, of_a: np.ndarray, of_b: np.ndarray, agree: Compare, tally: AgreementTally
) -> Iterator[pa.Table]:
    """The images that one alone failed on, and those that changed, which the tally takes in."""
    apart = pa.array(of_a ^ of_b)
    a, b = (table.filter(apart) for table in pair)
    codes = [table["error_code"].combine_chunks() for table in (a, b)]
    yield pa.table([a["image_id"].cast(pa.string()), *codes, pa.nulls(len(a), pa.float64())], schema=CHANGED)
    a, b = (table.filter(pa.array(~(of_a | of_b))) for table in pair)
    if len(a):
        agreement = agree(a, b)
        ids = a["image_id"].cast(pa.string())
        changed = tally.add(agreement, ids.to_pylist())
        columns = [ids.combine_chunks(), agreement.a, agreement.b, pa.array(agreement.same)]
        yield pa.table(columns, schema=CHANGED).filter(pa.array(changed))


def _judged(
    a: Predictions, b: Predictions, truth: TruthSettings | None, settings: EvaluateSettings
) -> Judgement | None:
    """None without a truth."""
    if truth is None and "truth" not in a.schema.names:
        return None
    measures = [measure_for(each, settings) for each in (a, b)]
    opened = None if truth is None else open_truth(truth, measures[0].truth_column)
    columns = [
        [
            "error_code",
            *measure.prediction_columns,
            *(name for name in measure.optional_columns if name in of.schema.names),
        ]
        for measure, of in zip(measures, (a, b), strict=True)
    ]
    pairs = Pairs(a=a, b=b, columns=(columns[0], columns[1]), has_truth=True, truth=opened)
    measure = PairedMeasure(*measures)
    tally = measure.tally()
    sample: Sample[PairedFacts] = Sample(settings.seed)
    images = 0
    disagreements = np.zeros(2, np.int64)
    has_right = True
    for facts in map(measure.facts, _rows(measures, pairs)):
        images += len(facts)
        tally.add(facts)
        found = facts.disagreements()
        has_right = has_right and found is not None
        disagreements += found or (0, 0)
        if settings.bootstrap:
            sample.add(facts, np.empty((len(facts), 0), np.int32))
    return Judgement(
        truth=a.uri if opened is None else opened.uri,
        images=images,
        differences=tuple(_differences(measure, tally, sample, images, settings)),
        mcnemar=mcnemar(*disagreements.tolist()) if has_right else None,
        notes=tuple(tally.notes()),
    )


def _rows(measures: list[Measure[Any]], pairs: Pairs) -> Iterator[Pair]:
    """The rows that both measures are asked for facts of."""

    def one(side: int) -> Iterator[pa.Table]:
        return (pair[side] for pair in pairs.of(pairs.joined()))

    a, b = measures
    if isinstance(a, LooksTwice) and isinstance(b, LooksTwice):
        return zip(a.rows(partial(one, 0)), b.rows(partial(one, 1)), strict=True)
    return pairs.of(pairs.joined())


def _differences(
    measure: PairedMeasure, tally: Any, sample: Sample[PairedFacts], images: int, settings: EvaluateSettings
) -> Iterator[Difference]:
    """Of the metrics of all classes together."""
    values = [value for value in tally.values() if value.label is None and value.value is not None]
    of_a, of_b = (
        {each.metric: each.value for each in one.values() if each.label is None} for one in (tally.a, tally.b)
    )
    taken = sample.taken()
    found = {}
    if taken is not None:
        found = intervals(
            measure, taken[0], images=images, values=values, resamples=settings.bootstrap, seed=settings.seed
        )
    for value in values:
        low, high = found.get((value.metric, None), (None, None))
        a, b = of_a[value.metric], of_b[value.metric]
        yield Difference(metric=value.metric, a=a, b=b, difference=b - a, low=low, high=high)
