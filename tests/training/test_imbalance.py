"""Rare classes: weights as scikit-learn's, and how often an epoch shows their images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from vision_batch.errors import SpecError
from vision_batch.training.imbalance import class_weights, repeats_per_class

LABELS = ("cat", "dog", "owl")
counts = st.lists(st.integers(0, 50), min_size=2, max_size=6).filter(any)


@given(counts)
def test_balanced_weights_are_those_of_scikit_learn(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    present = np.flatnonzero(counts)
    expected = np.zeros(len(counts))
    expected[present] = compute_class_weight("balanced", classes=present, y=labels)
    assert class_weights("balanced", counts, ["x"] * len(counts)) == pytest.approx(tuple(expected))


def test_with_several_labels_an_image_each_class_stands_against_the_rest() -> None:
    has = np.repeat([0, 1], [90, 10])
    rest, own = compute_class_weight("balanced", classes=np.array([0, 1]), y=has)
    assert class_weights("balanced", [10, 50, 0], LABELS, images=100) == pytest.approx((own / rest, 1, 0))


def test_given_weights_are_taken_as_they_are() -> None:
    assert class_weights([1, 2.5, 0], None, LABELS) == (1, 2.5, 0)
    assert class_weights("none", None, LABELS) is None
    with pytest.raises(SpecError, match="found 2 weights; expected one for each of the 3 labels: cat, dog, owl"):
        class_weights([1, 2], [1, 2, 3], LABELS)


def test_what_has_no_classes_cannot_be_balanced() -> None:
    with pytest.raises(SpecError, match=r"train.class_weights: found balanced; expected a task"):
        class_weights("balanced", None, LABELS)
    with pytest.raises(SpecError, match=r"train.sampling: found sqrt; expected a task"):
        repeats_per_class("sqrt", None)


@given(counts)
def test_sampling_shows_as_many_images_as_there_are(counts: list[int]) -> None:
    for sampling in ("balanced", "sqrt"):
        repeats = repeats_per_class(sampling, counts)
        assert repeats @ counts == pytest.approx(sum(counts))
        assert all((repeat > 0) == (count > 0) for repeat, count in zip(repeats, counts, strict=True))


@given(counts)
def test_balanced_shows_each_class_equally_and_sqrt_by_square_roots(counts: list[int]) -> None:
    present = np.flatnonzero(counts)
    shown = (repeats_per_class("balanced", counts) * counts)[present]
    assert shown == pytest.approx(np.full(len(present), shown[0]))
    shown = (repeats_per_class("sqrt", counts) * counts)[present]
    assert shown / shown[0] == pytest.approx((np.array(counts)[present] / counts[present[0]]) ** 0.5)
