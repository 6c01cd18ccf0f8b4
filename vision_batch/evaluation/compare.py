"""Compares two predictions of the same images: what changed, and, with the truth, which is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.agreement import AGREEMENTS, Compare, boxes
from vision_batch.evaluation.agreement_tally import AgreementTally
from vision_batch.evaluation.comparison import CHANGED, Comparison
from vision_batch.evaluation.evaluate import is_failed
from vision_batch.evaluation.judgement import judged
from vision_batch.evaluation.pairs import Pair, Pairs
from vision_batch.evaluation.settings import EvaluateSettings, TruthSettings
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

    Of boxes those that score less than `min_score` are not compared; the truth judges all. `truth`, whose
    URI is normalised, or else a column `truth` of `a`, says which is better. SpecError where the two are of different
    kinds or have no image in common, where ids repeat, and where an index of masks is another class in each.
    """
    if a.kind != b.kind:
        raise SpecError(Problem("compare", f"predictions of {a.kind} and of {b.kind}", "two of one kind"))
    if a.kind == "segmentation":
        _demand_same_classes(a.labels or (), b.labels or ())
    column = KIND_COLUMNS[a.kind]
    pairs = Pairs(a=a, b=b, columns=(["error_code", column], ["error_code", column]))
    joined = pairs.joined()
    called = {str(index): name for index, name in enumerate(a.labels or b.labels or ())}
    tally = AgreementTally(a.kind, called if a.kind == "segmentation" else {}, settings.seed)
    agree = partial(boxes, min_score=min_score) if a.kind == "detection" else AGREEMENTS[a.kind]
    failures = _Failures()
    for pair in pairs.of(joined):
        failed = is_failed(pair[0], a), is_failed(pair[1], b)
        apart = failures.add(pair, failed)
        told = _changed(pair, ~(failed[0] | failed[1]), agree, tally)
        if changed is not None:
            changed(pa.concat_tables([apart, told]))
    return Comparison(
        kind=a.kind,
        a=a.uri,
        b=b.uri,
        images=joined.images,
        only_in_a=joined.without_image,
        only_in_b=joined.without_truth,
        failed_in_both=failures.in_both,
        failed_only_in_a=failures.only_in_a,
        failed_only_in_b=failures.only_in_b,
        errors_changed=failures.changed,
        compared=tally.images,
        changed=tally.changed,
        agreement=tally.numbers(),
        classes=tally.classes(),
        changes=tally.changes(),
        kinds_of_change=tally.kinds_of_change,
        judgement=judged(a, b, truth, settings),
    )


def _demand_same_classes(a: Sequence[str], b: Sequence[str]) -> None:
    """SpecError where two models' masks cannot be compared: pixels are indices, not names."""
    for index, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            found = f"masks in which {index} is {one!r} in A and {other!r} in B"
            raise SpecError(Problem("compare", found, "masks of models whose labels have one order"))


class _Failures:
    """Images that failed in one or both; in both, `changed` are those with another error."""

    def __init__(self) -> None:
        self.in_both = self.only_in_a = self.only_in_b = self.changed = 0

    def add(self, pair: Pair, failed: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> pa.Table:
        """Takes in n images, of which some `failed` (n,) for each; those that failed differently."""
        of_a, of_b = failed
        codes = [table["error_code"].fill_null("").combine_chunks() for table in pair]
        other = of_a & of_b & np.asarray(pc.not_equal(*codes), np.bool_)
        self.in_both += int(np.count_nonzero(of_a & of_b))
        self.only_in_a += int(np.count_nonzero(of_a & ~of_b))
        self.only_in_b += int(np.count_nonzero(of_b & ~of_a))
        self.changed += int(np.count_nonzero(other))
        some = pa.array((of_a ^ of_b) | other)
        a, b = (table.filter(some) for table in pair)
        ids = a["image_id"].cast(pa.string())
        return pa.table([ids, a["error_code"], b["error_code"], pa.nulls(len(a), pa.float64())], schema=CHANGED)


def _changed(pair: Pair, good: NDArray[np.bool_], agree: Compare, tally: AgreementTally) -> pa.Table:
    """Of n images, of which some are `good` (n,) on both sides, those that changed; the tally takes in all."""
    a, b = (table.filter(pa.array(good)) for table in pair)
    if not len(a):
        return CHANGED.empty_table()
    agreement = agree(a, b)
    ids = a["image_id"].cast(pa.string()).combine_chunks()
    changed = tally.add(agreement, ids.to_pylist())
    table = pa.table([ids, agreement.a, agreement.b, pa.array(agreement.same)], schema=CHANGED)
    return table.filter(pa.array(changed))
