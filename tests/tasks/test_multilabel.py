"""Multi-label classification: any number of labels per image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, f1_score

from vision_batch.errors import ImageError, ModelError
from vision_batch.images.geometry import Geometry
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import trainable_task_for
from vision_batch.tasks.task import TrainableTask, View

LABELS = ("cat", "dog", "bird")
VIEW = View(width=6, height=4, geometry=Geometry(scale_x=1, scale_y=1, offset_x=0, offset_y=0))


def task(labels: tuple[str, ...] | None = LABELS, **more: Any) -> TrainableTask:
    return trainable_task_for(TaskSettings(type="classification", multi_label=True, **more), labels)


def rows(outputs: NDArray[np.float32], of: TrainableTask) -> list[dict[str, Any]]:
    columns = of.columns(outputs, [VIEW] * len(outputs), (4, 6))
    found: list[dict[str, Any]] = pa.table(columns, schema=pa.schema(of.fields())).to_pylist()
    return found


class TestSettings:
    def test_a_label_needs_half_of_a_score_unless_the_spec_says_otherwise(self) -> None:
        assert TaskSettings(type="classification", multi_label=True).score_threshold == 0.5
        assert TaskSettings(type="classification", multi_label=True, score_threshold=0.1).score_threshold == 0.1
        assert TaskSettings(type="classification").score_threshold == 0

    def test_settings_of_other_tasks_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="no top_k: multi_label has score_threshold"):
            task(top_k=3)
        with pytest.raises(ValidationError, match="no score_threshold, top_k: segmentation has tile_px"):
            TaskSettings(type="segmentation", top_k=3, score_threshold=0.1)
        with pytest.raises(ValidationError, match="multi_label with type: classification only"):
            TaskSettings(type="segmentation", multi_label=True)

    def test_a_definition_holds_only_what_the_task_has(self) -> None:
        settings = [
            TaskSettings(type="classification"),
            TaskSettings(type="classification", multi_label=True),
            TaskSettings(type="segmentation"),
        ]
        assert [each.model_dump() for each in settings] == [
            {"type": "classification", "top_k": 5, "score_threshold": 0.0},
            {"type": "classification", "multi_label": True, "score_threshold": 0.5},
            {"type": "segmentation"},
        ]
        assert [TaskSettings.model_validate(each.model_dump()) for each in settings] == settings


class TestColumns:
    def test_they_are_those_of_the_interface(self) -> None:
        assert [(field.name, str(field.type)) for field in task().fields()] == [
            ("labels", "list<item: string>"),
            ("label_scores", "list<item: float>"),
        ]

    def test_a_row_has_the_labels_above_the_threshold_best_first(self) -> None:
        first, second = rows(np.array([[1, -1, 3], [-5, -5, -5]], np.float32), task())
        assert first["labels"] == ["bird", "cat"]
        assert first["label_scores"] == pytest.approx([0.952574, 0.731059], abs=1e-6)
        assert second == {"labels": [], "label_scores": []}

    def test_a_score_at_the_threshold_is_listed(self) -> None:
        assert rows(np.zeros((1, 3), np.float32), task())[0]["labels"] == ["cat", "dog", "bird"]

    def test_without_labels_a_class_is_called_by_its_index(self) -> None:
        assert rows(np.array([[-9, 9]], np.float32), task(None))[0]["labels"] == ["1"]

    def test_no_images_give_no_rows(self) -> None:
        assert rows(np.empty((0, 3), np.float32), task()) == []

    def test_a_label_has_a_threshold_of_its_own_and_needs_half_where_none_is_said(self) -> None:
        of = task(score_threshold={"dog": 0.2, "bird": 0.96})
        assert [row["labels"] for row in rows(np.array([[1, -1, 3], [-1, -2, 4]], np.float32), of)] == [
            ["cat", "dog"],
            ["bird"],
        ]
        assert rows(np.array([[-1, -1]], np.float32), task(None, score_threshold={"1": 0.2}))[0]["labels"] == ["1"]

    def test_logits_are_divided_by_the_temperature(self) -> None:
        (row,) = rows(np.array([[2, -1, 8]], np.float32), task(score_threshold=0, temperature=2))
        assert row == rows(np.array([[1, -0.5, 4]], np.float32), task(score_threshold=0))[0]

    @pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e30, 1e300])
    def test_any_temperature_gives_scores(self, temperature: float) -> None:
        (row,) = rows(np.array([[3e38, -3e38, 0]], np.float32), task(score_threshold=0, temperature=temperature))
        assert row["labels"] == ["cat", "bird", "dog"]
        assert row["label_scores"] == sorted(row["label_scores"], reverse=True)

    def test_huge_logits_do_not_overflow(self) -> None:
        (row,) = rows(np.array([[3e38, -3e38, 0]], np.float32), task(score_threshold=0))
        assert row == {"labels": ["cat", "bird", "dog"], "label_scores": [1, 0.5, 0]}

    def test_outputs_that_do_not_fit(self) -> None:
        with pytest.raises(ModelError, match=r"4 classes and model\.labels has 3"):
            task().check(np.zeros((2, 4), np.float32))


class TestTarget:
    @pytest.mark.parametrize(
        ("truth", "value"),
        [
            (["dog", "cat"], [1, 1, 0]),
            (["dog", "dog"], [0, 1, 0]),
            (("bird",), [0, 0, 1]),
            ([], [0, 0, 0]),
            ("", [0, 0, 0]),
            ("dog", [0, 1, 0]),
            (" dog ; bird;", [0, 1, 1]),
            ('["dog", "cat"]', [1, 1, 0]),
            ("[2]", [0, 0, 1]),
            ("[]", [0, 0, 0]),
            ([0, 2], [1, 0, 1]),
        ],
    )
    def test_a_list_or_a_text_says_which_classes_there_are(self, truth: Any, value: list[int]) -> None:
        target = task().target(truth).value
        assert isinstance(target, np.ndarray)
        assert (target.dtype, target.tolist()) == (np.float32, value)

    @pytest.mark.parametrize(
        ("truth", "words"),
        [
            (None, "the label is nothing"),
            (3, "int 3"),
            (b"dog", "bytes"),
            (["dog", None], "nothing"),
            ("[dog]", "no JSON"),
            ("dog, cat", "no class is called 'dog, cat'"),
            ("{}", "no class"),
            ("[" * 10_000, "no JSON"),
        ],
    )
    def test_what_cannot_be_said_is_an_invalid_label(self, truth: Any, words: str) -> None:
        with pytest.raises(ImageError, match=words) as caught:
            task().target(truth)
        assert caught.value.code == "invalid_label"

    def test_names_are_known_before_the_labels_are(self) -> None:
        assert task(None).names("b;a;b") == ("b", "a")

    def test_targets_of_a_batch_are_rows(self) -> None:
        collated = task().collate([task().target("dog"), task().target("")], [])
        assert (collated.dtype, collated.tolist()) == (np.float32, [[0, 1, 0], [0, 0, 0]])
        assert task().collate([], []).shape == (0, 3)


def measured(logits: NDArray[Any], truth: NDArray[Any], **more: Any) -> dict[str, float]:
    metrics = task(tuple(map(str, range(truth.shape[1]))), **more).metrics()
    metrics.update(torch.tensor(logits), torch.tensor(truth, dtype=torch.float32))
    return metrics.result(metrics.state())


class TestMetrics:
    @given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 40))
    @settings(max_examples=30)
    def test_they_are_scikit_learns(self, seed: int, classes: int, images: int) -> None:
        random = np.random.default_rng(seed)
        truth = (random.random((images, classes)) < 0.4).astype(np.int64)
        steps = np.linspace(-5, 5, 41)  # far enough apart for bins of their own; some are equal
        logits = random.choice(steps, truth.shape).astype(np.float32)
        found = measured(logits, truth)
        occurs = np.flatnonzero(truth.any(axis=0))
        if len(occurs):
            precisions = [average_precision_score(truth[:, c], logits[:, c]) for c in occurs]
            assert found["mean_average_precision"] == pytest.approx(np.mean(precisions))
        else:
            assert "mean_average_precision" not in found
        if truth.any() or (logits >= 0).any():
            f1 = f1_score(truth.ravel(), (logits >= 0).ravel().astype(int), zero_division=0)
            assert found["micro_f1"] == pytest.approx(f1)
        else:
            assert found == {}

    @pytest.mark.parametrize("spread", [1e-2, 1.0, 20.0])
    def test_bins_cost_little_however_close_scores_lie(self, spread: float) -> None:
        random = np.random.default_rng(0)
        truth = random.random((2000, 3)) < 0.3
        logits = (spread * (random.normal(size=truth.shape) + truth)).astype(np.float32)
        exact = np.mean([average_precision_score(truth[:, c], logits[:, c]) for c in range(3)])
        assert measured(logits, truth)["mean_average_precision"] == pytest.approx(exact, abs=2e-3)

    def test_a_perfect_model_and_one_that_is_always_wrong(self) -> None:
        truth = np.array([[1, 0], [0, 1], [1, 1]])
        assert measured(20.0 * truth - 10, truth) == {"mean_average_precision": 1, "micro_f1": 1}
        assert measured(10 - 20.0 * truth, truth)["micro_f1"] == 0

    def test_the_thresholds_are_those_of_the_labels_at_the_specs_temperature(self) -> None:
        outputs, truths = np.array([[1.0, -1.0]]), np.array([[1, 1]])
        assert measured(outputs, truths, score_threshold={"0": 0.7, "1": 0.2})["micro_f1"] == 1
        assert measured(outputs, truths, score_threshold={"0": 0.7, "1": 0.2}, temperature=2)["micro_f1"] < 1

    def test_the_threshold_is_the_specs(self) -> None:
        assert measured(np.array([[1.0]]), np.array([[1]]), score_threshold=0.9)["micro_f1"] == 0

    def test_nothing_counted_has_no_metrics(self) -> None:
        assert measured(np.empty((0, 2)), np.empty((0, 2))) == {}

    def test_an_answer_that_is_no_number_is_the_least_likely(self) -> None:
        found = measured(np.array([[np.nan], [-30.0], [1.0]]), np.array([[0], [0], [1]]))
        assert found == {"mean_average_precision": 1, "micro_f1": 1}

    def test_states_of_workers_sum_to_that_of_all(self) -> None:
        random = np.random.default_rng(0)
        logits = torch.from_numpy(random.normal(size=(30, 3)).astype(np.float32))
        targets = torch.from_numpy((random.random((30, 3)) < 0.5).astype(np.float32))
        whole, *shares = (task().metrics() for _ in range(4))
        whole.update(logits, targets)
        for share, chosen in zip(shares, (slice(0, 11), slice(11, 30), slice(30, 30)), strict=True):
            share.update(logits[chosen], targets[chosen])
        total = np.sum([share.state() for share in shares], axis=0)
        assert total.tolist() == whole.state().tolist()

    def test_a_state_is_bounded_however_many_classes_there_are(self) -> None:
        assert task(tuple(map(str, range(20_000)))).metrics().state().nbytes < 100 << 20


class TestAgreement:
    def test_scores_may_move_by_two_hundredths(self) -> None:
        exact = np.zeros((4, 3), np.float32)
        assert task().agreement(exact, exact + np.float32(0.07)).is_close
        assert not task().agreement(exact, exact + np.float32(0.09)).is_close
        assert not task().agreement(exact, np.full_like(exact, np.nan)).is_close
