"""Classification: from logits to labels and scores."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from sklearn.metrics import accuracy_score, f1_score, top_k_accuracy_score

from vision_batch.errors import ImageError, ModelError
from vision_batch.images.geometry import Geometry
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import trainable_task_for
from vision_batch.tasks.task import TrainableTask, View

LABELS = ("cat", "dog", "bird")
VIEW = View(width=640, height=480, geometry=Geometry(scale_x=2, scale_y=2, offset_x=96, offset_y=16))
LOGITS = np.array([[1, 3, 2], [5, 0, -5]], np.float32)


def task(labels: tuple[str, ...] | None = LABELS, top_k: int = 5, score_threshold: float = 0) -> TrainableTask:
    return trainable_task_for(TaskSettings(type="classification", top_k=top_k, score_threshold=score_threshold), labels)


def rows(outputs: np.ndarray, of: TrainableTask) -> list[dict[str, Any]]:
    columns = of.columns(outputs, [VIEW] * len(outputs), (224, 224))
    rows: list[dict[str, Any]] = pa.table(columns, schema=pa.schema(of.fields())).to_pylist()
    return rows


def test_the_columns_are_those_of_the_interface() -> None:
    assert [(field.name, str(field.type)) for field in task().fields()] == [
        ("label", "string"),
        ("label_index", "int32"),
        ("score", "float"),
        ("top_labels", "list<item: string>"),
        ("top_scores", "list<item: float>"),
    ]
    assert all(field.nullable for field in task().fields())


def test_a_row_has_the_best_class_and_the_best_k() -> None:
    first, second = rows(LOGITS, task(top_k=2))
    assert (first["label"], first["label_index"], first["top_labels"]) == ("dog", 1, ["dog", "bird"])
    assert (second["label"], second["label_index"], second["top_labels"]) == ("cat", 0, ["cat", "dog"])
    assert first["top_scores"] == pytest.approx([0.665241, 0.244728], abs=1e-6)
    assert first["score"] == first["top_scores"][0]


class TestAgreement:
    exact = np.eye(10, dtype=np.float32)[np.arange(100) % 10] * 8

    def test_rounding_is_close(self) -> None:
        noise = np.random.default_rng(0).normal(0, 0.02, self.exact.shape).astype(np.float32)
        agreement = task(None).agreement(self.exact, self.exact + noise)
        assert agreement.is_close
        assert agreement.text.startswith("100 of 100 labels are those of fp32, and scores differ by at most 0.00")

    def test_one_label_in_twenty_may_change_where_scores_hardly_do(self) -> None:
        exact = np.zeros((100, 10), np.float32)
        exact[:, 3] = 0.001
        for changed, is_close in ((5, True), (6, False)):
            lowered = exact.copy()
            lowered[:changed, 4] = 0.002
            assert task(None).agreement(exact, lowered).is_close == is_close

    def test_a_score_that_moves_is_not_close_though_every_label_stays(self) -> None:
        lowered = self.exact.copy()
        lowered[7, 7] = 5
        agreement = task(None).agreement(self.exact, lowered)
        assert (agreement.is_close, agreement.text[:17]) == (False, "100 of 100 labels")

    def test_what_overflows_in_the_lower_one_alone_is_not_close(self) -> None:
        lowered = self.exact.copy()
        lowered[7, 7] = np.inf
        assert not task(None).agreement(self.exact, lowered).is_close
        assert task(None).agreement(lowered, lowered).is_close
        assert not task(None).agreement(np.full_like(lowered, np.nan), lowered).is_close


def test_below_the_threshold_classes_are_not_listed_and_the_best_is_still_told() -> None:
    assert [row["top_labels"] for row in rows(LOGITS, task(score_threshold=0.2))] == [["dog", "bird"], ["cat"]]
    first, second = rows(LOGITS, task(score_threshold=0.9))
    assert (first["label"], first["label_index"], first["top_labels"], first["top_scores"]) == ("dog", 1, [], [])
    assert first["score"] == pytest.approx(0.665241, abs=1e-6)
    assert (second["top_labels"], second["top_scores"]) == (["cat"], [second["score"]])


def test_a_score_at_the_threshold_is_listed() -> None:
    tenths = np.log(np.array([[0.7, 0.2, 0.1]], np.float32))
    for threshold in (0.7, 0.2, 0.1):
        score = rows(tenths, task())[0]["top_scores"][(0.7, 0.2, 0.1).index(threshold)]
        assert score in rows(tenths, task(score_threshold=score))[0]["top_scores"]
    certain = np.array([[1e3, 0, 0]], np.float32)
    assert rows(certain, task(score_threshold=1))[0]["top_labels"] == ["cat"]
    assert rows(certain, task(score_threshold=0))[0]["top_labels"] == ["cat", "dog", "bird"]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "half"])
def test_thresholds_that_are_no_scores(threshold: Any) -> None:
    with pytest.raises(ValidationError, match="score_threshold"):
        task(score_threshold=threshold)


def test_fewer_classes_than_k_gives_all_of_them() -> None:
    first = rows(LOGITS, task(top_k=50))[0]
    assert first["top_labels"] == ["dog", "bird", "cat"]
    assert sum(first["top_scores"]) == pytest.approx(1)


def test_without_labels_a_class_is_called_by_its_index() -> None:
    assert rows(LOGITS, task(labels=None, top_k=1))[0]["label"] == "1"


def test_equal_scores_come_in_the_order_of_classes() -> None:
    even = np.zeros((1, 100), np.float32)
    for top_k in (3, 60):
        assert rows(even, task(labels=None, top_k=top_k))[0]["top_labels"] == [str(i) for i in range(top_k)]


def test_no_images_give_no_rows() -> None:
    assert rows(np.empty((0, 3), np.float32), task()) == []


def test_huge_logits_do_not_overflow() -> None:
    first = rows(np.array([[3e38, -3e38, 0]], np.float32), task())[0]
    assert first["top_scores"] == [1, 0, 0]


def test_which_images_have_a_prediction() -> None:
    outputs = np.array([[1, 2, 3], [1, np.nan, 3], [np.inf, 0, 0], [0, -np.inf, 0]], np.float32)
    assert task().finite(outputs).tolist() == [True, False, False, False]


logits = st.integers(1, 50).flatmap(
    lambda classes: arrays(
        np.float32, st.tuples(st.integers(1, 6), st.just(classes)), elements=st.floats(-50, 50, width=32)
    )
)


@given(outputs=logits, top_k=st.integers(1, 60))
def test_the_best_k_are_those_of_a_stable_sort_of_the_softmax(outputs: np.ndarray, top_k: int) -> None:
    exact = np.exp(outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    order = np.argsort(-outputs, axis=1, kind="stable")[:, :top_k]
    for row, best, scores in zip(rows(outputs, task(None, top_k)), order, exact, strict=True):
        assert row["top_labels"] == [str(index) for index in best]
        assert row["label_index"] == best[0]
        np.testing.assert_allclose(row["top_scores"], scores[best], rtol=1e-5, atol=1e-12)


@given(outputs=logits, top_k=st.integers(1, 60), threshold=st.floats(0, 1))
def test_a_threshold_cuts_the_end_of_each_list_and_nothing_else(
    outputs: np.ndarray, top_k: int, threshold: float
) -> None:
    least = np.float32(threshold)
    for row, whole in zip(rows(outputs, task(None, top_k, threshold)), rows(outputs, task(None, top_k)), strict=True):
        kept = sum(np.float32(score) >= least for score in whole["top_scores"])
        cut = {"top_labels": whole["top_labels"][:kept], "top_scores": whole["top_scores"][:kept]}
        assert row == whole | cut


@given(outputs=logits)
def test_a_row_does_not_depend_on_its_neighbours(outputs: np.ndarray) -> None:
    together = rows(outputs, task(None))
    assert together == [rows(outputs[i : i + 1], task(None))[0] for i in range(len(outputs))]


class TestCheck:
    def test_what_fits(self) -> None:
        task().check(LOGITS)
        task().check(LOGITS, 2)
        task(labels=None).check(LOGITS, 2)

    @pytest.mark.parametrize(
        ("outputs", "words"),
        [
            (np.zeros((2, 4), np.float32), r"scores for 4 classes and model.labels has 3 names"),
            (np.zeros((3, 3), np.float32), r"3 rows for 2 images"),
            (np.zeros((2, 3, 1, 1), np.float32), r"shape \(2, 3, 1, 1\); classification needs .* \(N, C\)"),
            (np.zeros((2,), np.float32), r"shape \(2,\)"),
            (np.zeros((2, 0), np.float32), r"shape \(2, 0\)"),
            (np.zeros((2, 3), np.int64), r"int64 of shape"),
            ({"logits": LOGITS, "aux": LOGITS}, r"a dict with logits, aux; .* return it from forward"),
            ([LOGITS, LOGITS], r"a list of 2"),
            (None, r"a NoneType"),
        ],
    )
    def test_what_does_not(self, outputs: Any, words: str) -> None:
        with pytest.raises(ModelError, match=words):
            task().check(outputs, 2)


def test_tasks_do_not_import_torch() -> None:
    code = "import sys, vision_batch.tasks.table; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class TestTarget:
    def test_a_label_is_a_class_index(self) -> None:
        assert [task().target(truth).value for truth in ("dog", " cat\n", 2, "2")] == [1, 0, 2, 2]
        assert task(labels=None).names(" owl ") == ("owl",)

    def test_what_is_no_class_is_an_invalid_label(self) -> None:
        for truth in (None, "owl", 3, -1, 0.5, b"cat", ["cat"]):
            with pytest.raises(ImageError) as caught:
                task().target(truth)
            assert caught.value.code == "invalid_label"

    def test_targets_of_a_batch_are_indices(self) -> None:
        collated = task().collate([task().target("dog"), task().target("cat")], [])
        assert (collated.dtype, collated.tolist()) == (np.int64, [1, 0])
        assert task().collate([], []).shape == (0,)


def measured(logits: np.ndarray, truth: np.ndarray, top_k: int = 5) -> dict[str, float]:
    metrics = task(tuple(map(str, range(logits.shape[1]))), top_k).metrics()
    metrics.update(torch.from_numpy(logits), torch.from_numpy(truth))
    return metrics.result(metrics.state())


class TestMetrics:
    @given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 30))
    @settings(max_examples=30)
    def test_they_are_scikit_learns(self, seed: int, classes: int, images: int) -> None:
        random = np.random.default_rng(seed)
        logits = random.permuted(np.tile(np.arange(classes, dtype=np.float32), (images, 1)), axis=1)
        truth = random.integers(0, max(1, classes - 1), images)
        found = measured(logits, truth, top_k=2)
        predicted = logits.argmax(axis=1)
        assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
        assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
        if classes > 2:
            among = top_k_accuracy_score(truth, logits, k=2, labels=np.arange(classes))
            assert found["top_2_accuracy"] == pytest.approx(among)
        else:
            assert set(found) == {"accuracy", "macro_f1"}, "both classes are always among the best two"

    def test_one_class_alone(self) -> None:
        found = measured(np.array([[2, 1, 0], [0, 1, 2]], np.float32), np.array([0, 0]), top_k=1)
        assert found == {"accuracy": 0.5, "macro_f1": pytest.approx((2 / 3 + 0) / 2)}

    def test_nothing_counted_has_no_metrics(self) -> None:
        assert measured(np.empty((0, 3), np.float32), np.empty(0, np.int64)) == {}

    def test_states_of_workers_sum_to_that_of_all(self) -> None:
        random = np.random.default_rng(0)
        logits = torch.from_numpy(random.normal(size=(30, 3)).astype(np.float32))
        targets = torch.from_numpy(random.integers(0, 3, 30))
        whole, *shares = (task(top_k=2).metrics() for _ in range(4))
        whole.update(logits, targets)
        for share, chosen in zip(shares, (slice(0, 11), slice(11, 30), slice(30, 30)), strict=True):
            share.update(logits[chosen], targets[chosen])
        total = np.sum([share.state() for share in shares], axis=0)
        assert total.tolist() == whole.state().tolist()
        assert whole.result(total) == whole.result(whole.state())


def cooled(temperature: float, labels: tuple[str, ...] | None = LABELS) -> TrainableTask:
    return trainable_task_for(TaskSettings(type="classification", temperature=temperature), labels)


@given(logits, st.floats(0.1, 10))
def test_scores_are_the_softmax_of_logits_divided_by_the_temperature(outputs: np.ndarray, temperature: float) -> None:
    found = [row["top_scores"] for row in rows(outputs, cooled(temperature, None))]
    wide = outputs.astype(np.float64) / temperature
    shares = np.exp(wide - wide.max(axis=1, keepdims=True, initial=-np.inf))
    wanted = -np.sort(-shares / shares.sum(axis=1, keepdims=True), axis=1)[:, :5]
    np.testing.assert_allclose(np.array(found).reshape(wanted.shape), wanted, atol=1e-6)


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-3, 1e30, 1e300])
def test_a_temperature_changes_neither_label_nor_order(temperature: float) -> None:
    outputs = np.array([[3e38, -3e38, 0], [2, 1, 3], [0, 0, 0]], np.float32)
    for row, plain in zip(rows(outputs, cooled(temperature)), rows(outputs, task()), strict=True):
        assert (row["label"], row["top_labels"]) == (plain["label"], plain["top_labels"])
        assert sum(row["top_scores"]) == pytest.approx(1, abs=1e-5)
