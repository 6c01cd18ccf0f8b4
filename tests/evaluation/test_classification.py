"""Measures of labels: equal to scikit-learn's, on random and on degenerate input."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from tests.evaluation.classified import Classified, classified
from vision_batch.errors import SpecError
from vision_batch.evaluation.classification import ClassificationMeasure

DEGENERATE = {
    "random": classified(),
    "failures": classified(failed=0.2),
    "two classes": classified(classes=2),
    "one true class": classified(truths=("c1",)),
    "one class": classified(classes=1),
    "truths that the model has not": classified(truths=("c0", "c2", "stranger", "other")),
    "one image": classified(count=1),
    "all failed": classified(failed=1.1),
}


@pytest.fixture(params=DEGENERATE.values(), ids=DEGENERATE.keys())
def case(request: pytest.FixtureRequest) -> Classified:
    found: Classified = request.param
    return found


def quietly(function: Callable[..., float], *arguments: object, **options: object) -> float:
    """Without scikit-learn's warnings about classes that do not occur."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def predicted_with_failures(case: Classified) -> np.ndarray:
    """An image without a prediction is taken for a class that there is not."""
    return np.where(case.failed, "(failed)", case.predicted.astype(object)).astype(str)


def test_accuracy_and_its_kin_are_those_of_scikit_learn(case: Classified) -> None:
    values, predicted = case.values(), predicted_with_failures(case)
    assert values["accuracy", None].value == pytest.approx(metrics.accuracy_score(case.truth, predicted))
    assert values["accuracy", None].support == len(case.truth)
    balanced = quietly(metrics.balanced_accuracy_score, case.truth, predicted)
    assert values["balanced_accuracy", None].value == pytest.approx(balanced)
    kappa = quietly(metrics.cohen_kappa_score, case.truth, predicted)
    found = values["cohen_kappa", None].value
    assert (np.nan if found is None else found) == pytest.approx(kappa, nan_ok=True)


def test_precision_recall_and_f1_are_those_of_scikit_learn(case: Classified) -> None:
    values, predicted = case.values(), predicted_with_failures(case)
    occurring = sorted({*case.truth, *predicted} - {"(failed)"})
    for average in ("macro", "micro", "weighted"):
        expected = metrics.precision_recall_fscore_support(
            case.truth, predicted, labels=occurring, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert (values[f"{average}_{name}", None].value or 0) == pytest.approx(value)
    each = metrics.precision_recall_fscore_support(case.truth, predicted, labels=occurring, zero_division=np.nan)
    for place, label in enumerate(occurring):
        for name, column in zip(("precision", "recall", "f1"), each, strict=False):
            found = values[name, label]
            assert (np.nan if found.value is None else found.value) == pytest.approx(column[place], nan_ok=True)
            assert found.support == (case.truth == label).sum()


def test_curves_areas_and_precisions_are_those_of_scikit_learn(case: Classified) -> None:
    values, good = case.values(), ~case.failed
    areas = []
    for index, label in enumerate(case.labels):
        is_true, scores = case.truth[good] == label, case.scores[good, index]
        if is_true.any() and not is_true.all():
            areas.append(metrics.roc_auc_score(is_true, scores))
            assert values["roc_auc", label].value == pytest.approx(areas[-1])
        else:
            assert ("roc_auc", label) not in values
        if is_true.any():
            precision = metrics.average_precision_score(is_true, scores)
            assert values["average_precision", label].value == pytest.approx(precision)
    if set(case.truth[good]) == set(case.labels) and len(case.labels) > 2:
        assert values["macro_roc_auc", None].value == pytest.approx(np.mean(areas))
        expected = metrics.roc_auc_score(
            case.truth[good], case.scores[good] / case.scores[good].sum(axis=1, keepdims=True), multi_class="ovr"
        )
        assert values["macro_roc_auc", None].value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("k", [2, 3])
def test_top_k_accuracy_is_that_of_scikit_learn(k: int) -> None:
    case = classified()
    expected = metrics.top_k_accuracy_score(case.truth, case.scores, k=k, labels=case.labels)
    assert case.values()[f"top_{k}_accuracy", None].value == pytest.approx(expected)
    assert case.values(k=k)[f"top_{k}_accuracy", None].value == pytest.approx(expected)
    assert (f"top_{k}_accuracy", None) not in case.values(k=k - 1)


def test_log_loss_is_that_of_scikit_learn() -> None:
    case = classified()
    expected = metrics.log_loss(case.truth, case.scores, labels=case.labels)
    assert case.values()["log_loss", None].value == pytest.approx(expected, rel=1e-5)


def test_a_true_class_that_is_not_listed_has_what_the_others_leave() -> None:
    labels = ("a", "b", "c")
    scores = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]], np.float32)
    case = Classified(labels=labels, scores=scores, truth=np.array(["c", "c"]), failed=np.zeros(2, bool))
    assert case.values(k=2)["log_loss", None].value == pytest.approx(-(np.log(0.1) + np.log(0.25)) / 2, rel=1e-5)
    assert case.values(k=1)["log_loss", None].value == pytest.approx(-(np.log(0.3) + np.log(0.4)) / 2, rel=1e-5)
    stranger = Classified(labels=labels, scores=scores, truth=np.array(["x", "c"]), failed=np.zeros(2, bool))
    expected = -(np.log(np.finfo(np.float32).eps) + np.log(0.25)) / 2
    assert stranger.values()["log_loss", None].value == pytest.approx(expected, rel=1e-5)


def test_an_image_whose_list_is_empty_counts_with_its_prediction() -> None:
    case = classified(50)
    rows = case.rows()
    for name in ("top_labels", "top_scores"):
        kept = [values if index % 2 else [] for index, values in enumerate(rows[name].to_pylist())]
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(kept, rows[name].type))
    measure = ClassificationMeasure(case.labels)
    tally = measure.tally()
    tally.add(measure.facts(rows))
    values = {value.metric: value for value in tally.values() if value.label is None}
    assert values["log_loss"].support == values["macro_roc_auc"].support == values["accuracy"].support == 50
    best, right = case.scores.max(axis=1), case.predicted == case.truth
    alone = np.where(right, best, np.minimum(1 - best, best))
    whole = case.scores[np.arange(50), [case.labels.index(truth) for truth in case.truth]]
    expected = -np.log(np.where(np.arange(50) % 2, whole, alone)).mean()
    assert values["log_loss"].value == pytest.approx(expected, rel=1e-5)
    accuracy, top_2 = values["accuracy"].value, values["top_2_accuracy"].value
    assert accuracy is not None
    assert top_2 is not None
    assert accuracy <= top_2


def test_calibration_is_the_mean_distance_of_score_and_accuracy_in_15_bins() -> None:
    case = classified(2000)
    confidence, right = case.scores.max(axis=1), case.predicted == case.truth
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert case.values()["expected_calibration_error", None].value == pytest.approx(expected, rel=1e-5)


def test_the_confusion_matrix_is_that_of_scikit_learn_and_failures_are_in_it() -> None:
    case = classified(failed=0.1)
    measure = ClassificationMeasure(case.labels)
    tally = measure.tally()
    tally.add(measure.facts(case.rows()))
    cells = {(cell.truth, cell.predicted): cell.count for cell in tally.confusion()}
    matrix = metrics.confusion_matrix(case.truth[~case.failed], case.predicted[~case.failed], labels=case.labels)
    for row, truth in enumerate(case.labels):
        for column, predicted in enumerate(case.labels):
            assert cells.get((truth, predicted), 0) == matrix[row, column]
        assert cells[truth, None] == (case.failed & (case.truth == truth)).sum()
    assert [cell.count for cell in tally.confusion()] == sorted(cells.values(), reverse=True)


def test_the_curves_are_those_of_scikit_learn() -> None:
    case = classified(300, 3)
    measure = ClassificationMeasure(case.labels)
    tally = measure.tally()
    tally.add(measure.facts(case.rows()))
    curves = {(curve.kind, curve.label): curve for curve in tally.curves()}
    for index, label in enumerate(case.labels):
        roc = curves["roc", label]
        false, true, thresholds = metrics.roc_curve(case.truth == label, case.scores[:, index], drop_intermediate=False)
        assert (roc.x.tolist(), roc.y.tolist()) == (pytest.approx(false), pytest.approx(true))
        assert roc.thresholds.tolist() == pytest.approx(thresholds)
        found = curves["precision_recall", label]
        precision, recall, _ = metrics.precision_recall_curve(case.truth == label, case.scores[:, index])
        assert metrics.auc(found.x, found.y) == pytest.approx(metrics.auc(recall, precision), abs=1e-3)
    assert curves["calibration", None].thresholds.sum() == 300


def test_weights_count_an_image_as_often_as_they_say() -> None:
    case = classified(100, failed=0.1)
    weights = np.random.default_rng(0).integers(0, 3, 100)
    measure = ClassificationMeasure(case.labels)
    facts = measure.facts(case.rows())
    weighted, repeated = measure.tally(is_resample=True), measure.tally()
    weighted.add(facts, weights)
    repeated.add(facts.take(np.repeat(np.arange(100), weights)))
    for one, other in zip(weighted.values(), repeated.values(), strict=True):
        assert (one.metric, one.label, one.support) == (other.metric, other.label, other.support)
        assert one.value == pytest.approx(other.value)


def test_without_scores_there_are_counts_and_no_curves() -> None:
    case = classified()
    rows = case.rows().select(["error_code", "label", "truth"])
    measure = ClassificationMeasure()
    tally = measure.tally()
    tally.add(measure.facts(rows))
    values = {value.metric: value.value for value in tally.values() if value.label is None}
    assert values["accuracy"] == (case.predicted == case.truth).mean()
    assert values["log_loss"] is values["expected_calibration_error"] is values["macro_roc_auc"] is None
    assert not tally.curves()


def test_scores_that_are_no_odds_have_no_loss_and_no_calibration() -> None:
    case = classified()
    logits = Classified(labels=case.labels, scores=case.scores * 10, truth=case.truth, failed=case.failed)
    assert logits.values()["log_loss", None].value is None
    assert logits.values()["expected_calibration_error", None].value is None
    assert logits.values()["roc_auc", "c0"].value == pytest.approx(case.values()["roc_auc", "c0"].value)


def test_nothing_at_all_has_no_values() -> None:
    values = classified(count=0).values()
    assert {value.value for value in values.values()} == {None}


def test_a_truth_may_be_an_index_and_nothing_else_than_a_class() -> None:
    case = Classified(
        labels=("cat", "dog"),
        scores=np.array([[0.9, 0.1], [0.2, 0.8]], np.float32),
        truth=np.array(["0", "dog"]),
        failed=np.zeros(2, bool),
    )
    assert case.values()["accuracy", None].value == 1
    with pytest.raises(SpecError, match="expected the name of a class"):
        ClassificationMeasure().facts(case.rows().set_column(6, "truth", [[1.5, 2.0]]))


def test_a_column_with_very_many_names_is_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.evaluation.vocabulary.MOST_CLASSES", 3)
    with pytest.raises(SpecError, match="more than 3 different labels"):
        classified().values()
        ClassificationMeasure().facts(classified().rows())


def test_two_classes_of_one_name_count_as_the_better_of_them() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.5, 0.4], [0.2, 0.1, 0.7], [0.3, 0.6, 0.1]], np.float32)
    case = Classified(
        labels=("crane", "dog", "crane"),
        scores=scores,
        truth=np.array(["crane", "dog", "crane", "crane"]),
        failed=np.zeros(4, bool),
    )
    values = case.values()
    is_crane, best = case.truth == "crane", scores[:, [0, 2]].max(axis=1)
    assert values["accuracy", None].value == 0.75
    assert values["roc_auc", "crane"].value == pytest.approx(metrics.roc_auc_score(is_crane, best))
    assert values["average_precision", "crane"].value == pytest.approx(metrics.average_precision_score(is_crane, best))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("top_scores", [[0.5]], "top_scores: found lists of other lengths"),
        ("top_labels", [["c0", None]], "top_labels: found a list that has a null in it"),
        ("top_labels", ["c0"], "top_labels: found a column of string; expected a column of lists"),
        ("score", ["much"], "score: found a column of string"),
    ],
)
def test_columns_that_do_not_go_together_are_refused(column: str, values: list[object], message: str) -> None:
    rows = classified(1, 2).rows()
    rows = rows.set_column(rows.column_names.index(column), column, [values])
    with pytest.raises(SpecError, match=message):
        ClassificationMeasure().facts(rows)
