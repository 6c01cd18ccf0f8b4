"""Measures of any number of labels per image: equal to scikit-learn's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from vision_batch.errors import SpecError
from vision_batch.evaluation.measure import Value
from vision_batch.evaluation.multi_label import MultiLabelMeasure

LABELS = ("a", "b", "c", "d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """`scores` (n, 4) float32, and the classes (n, 4) that are `true`; images that `failed` (n,) have no prediction."""

    scores: np.ndarray
    true: np.ndarray
    failed: np.ndarray

    def rows(self, threshold: float = 0.0) -> pa.Table:
        order = np.argsort(-self.scores, axis=1, kind="stable")
        listed = [
            None if failed else [(LABELS[index], float(row[index])) for index in places if row[index] >= threshold]
            for row, places, failed in zip(self.scores, order, self.failed, strict=True)
        ]
        return pa.table(
            {
                "error_code": ["empty" if failed else None for failed in self.failed],
                "labels": pa.array([each and [name for name, _ in each] for each in listed], pa.list_(pa.string())),
                "label_scores": pa.array([each and [s for _, s in each] for each in listed], pa.list_(pa.float32())),
                "truth": pa.array(
                    [[LABELS[i] for i in np.flatnonzero(row)] for row in self.true], pa.list_(pa.string())
                ),
            }
        )

    def values(self, threshold: float = 0.0) -> dict[tuple[str, str | None], Value]:
        measure = MultiLabelMeasure(LABELS)
        tally = measure.tally()
        rows = self.rows(threshold)
        for some in np.array_split(np.arange(len(rows)), 3):
            tally.add(measure.facts(rows.take(pa.array(some, pa.int64()))))
        return {(value.metric, value.label): value for value in tally.values()}


def labelled(count: int = 300, *, failed: float = 0.0, never: tuple[int, ...] = ()) -> Labelled:
    random = np.random.default_rng(count)
    true = random.random((count, 4)) < [0.5, 0.3, 0.1, 0.2]
    true[:, list(never)] = False
    scores = 1 / (1 + np.exp(-random.normal(0, 1, (count, 4)) - 2 * true + 1))
    return Labelled(scores=scores.astype(np.float32), true=true, failed=random.random(count) < failed)


CASES = {
    "random": labelled(),
    "failures": labelled(failed=0.2),
    "a class without positives": labelled(never=(2,)),
    "no labels at all": labelled(never=(0, 1, 2, 3)),
    "one image": labelled(1),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_mean_average_precision_is_that_of_scikit_learn(case: Labelled) -> None:
    values, good = case.values(), ~case.failed
    occurring = [index for index in range(4) if case.true[good, index].any()]
    if not occurring:
        assert values["mean_average_precision", None].value is None
        return
    expected = metrics.average_precision_score(case.true[good][:, occurring], case.scores[good][:, occurring])
    assert values["mean_average_precision", None].value == pytest.approx(expected)
    for index in occurring:
        one = metrics.average_precision_score(case.true[good, index], case.scores[good, index])
        assert values["average_precision", LABELS[index]].value == pytest.approx(one)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_precision_recall_and_f1_are_those_of_scikit_learn(case: Labelled) -> None:
    predicted = (case.scores >= 0.5) & ~case.failed[:, None]
    values = case.values(threshold=0.5)
    occurring = np.flatnonzero(predicted.any(axis=0) | case.true.any(axis=0))
    for average in ("micro", "macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(
            case.true, predicted, labels=occurring, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            found = values[f"{average}_{name}", None].value
            assert (found or 0) == pytest.approx(value if len(occurring) else 0)
    matches = (predicted == case.true).all(axis=1) & ~case.failed
    assert values["exact_match", None].value == pytest.approx(matches.mean())


def test_labels_below_the_threshold_score_less_than_those_above() -> None:
    case = labelled()
    floor = np.where(case.scores >= 0.5, case.scores, 0)
    expected = metrics.average_precision_score(case.true, floor)
    assert case.values(threshold=0.5)["mean_average_precision", None].value == pytest.approx(expected)


@pytest.mark.parametrize("text", [" a; b ;a", '["b", "a"]'])
def test_a_truth_may_be_a_text(text: str) -> None:
    rows = labelled(2).rows().set_column(3, "truth", pa.array([text, ""]))
    measure = MultiLabelMeasure(LABELS)
    facts = measure.facts(rows)
    assert facts.trues.tolist() == [2, 0]
    assert facts.true.tolist() == [0, 1]


def test_a_truth_that_is_no_list_is_refused() -> None:
    rows = labelled(2).rows().set_column(3, "truth", pa.array([1, 2]))
    with pytest.raises(SpecError, match="expected the names of the image's classes"):
        MultiLabelMeasure(LABELS).facts(rows)


def test_weights_count_an_image_as_often_as_they_say() -> None:
    case = labelled(80, failed=0.1)
    weights = np.random.default_rng(0).integers(0, 3, 80)
    measure = MultiLabelMeasure(LABELS)
    facts = measure.facts(case.rows(0.3))
    weighted, repeated = measure.tally(is_resample=True), measure.tally()
    weighted.add(facts, weights)
    repeated.add(facts.take(np.repeat(np.arange(80), weights)))
    for one, other in zip(weighted.values(), repeated.values(), strict=True):
        assert (one.metric, one.label, one.support) == (other.metric, other.label, other.support)
        assert one.value == pytest.approx(other.value)


def test_a_label_listed_twice_counts_once_with_its_first_score() -> None:
    lists = pa.list_(pa.string())
    columns = {
        "error_code": pa.nulls(2, pa.string()),
        "labels": pa.array([["a", "a", "b"], ["b", "a"]], lists),
        "label_scores": [[0.9, 0.1, 0.05], [0.8, 0.7]],
        "truth": pa.array([["a"], ["b"]], lists),
    }
    measure = MultiLabelMeasure()
    tally = measure.tally()
    tally.add(measure.facts(pa.table(columns)))
    values = {(value.metric, value.label): value.value for value in tally.values()}
    assert values["macro_roc_auc", None] == 1
    assert values["precision", "a"] == 0.5


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"truth": [["a", None]]}, "truth: found a list that has a null in it"),
        ({"labels": [["a", None]]}, "labels: found a list that has a null in it"),
        ({"labels": ["a;b"]}, "labels: found a column of string; expected a column of lists"),
        ({"label_scores": [[0.5, 0.5]]}, "label_scores: found lists of other lengths"),
    ],
)
def test_lists_that_are_no_labels_are_refused(columns: dict[str, list[object]], message: str) -> None:
    good = {"error_code": [None], "labels": [["a"]], "label_scores": [[0.5]], "truth": [["a"]]}
    with pytest.raises(SpecError, match=message):
        MultiLabelMeasure().facts(pa.table(good | columns))
