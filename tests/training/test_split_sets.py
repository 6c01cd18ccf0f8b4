"""Which images a model is measured on: the same ones whatever else comes in, and of every class its share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.training.hash64 import mixed
from vision_batch.training.settings import ValidationSettings
from vision_batch.training.split_sets import (
    Chunks,
    Split,
    make_split,
    training_parts,
    validation_parts,
    values_at,
)


def chunks_of(classes: np.ndarray, hashes: np.ndarray, size: int = 50) -> Chunks:
    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(classes), size):
            yield classes[start : start + size], hashes[start : start + size]

    return chunks


def split_of(settings: ValidationSettings | None, classes: np.ndarray, hashes: np.ndarray) -> Split:
    return make_split(settings, int(classes.max(initial=-1)) + 1, chunks_of(classes, hashes))


def images(count: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    hashes = mixed(np.arange(count), 7)
    return (mixed(np.arange(count), 8) % np.uint64(classes)).astype(np.int32), hashes


def test_fraction_is_the_first_part() -> None:
    classes, hashes = images(10_000)
    parts = split_of(ValidationSettings(fraction=0.2), classes, hashes).part_of(classes, hashes)
    assert set(parts) == {0, 1}
    assert (parts == 0).mean() == pytest.approx(0.2, abs=0.02)


def test_image_stays_in_its_part_when_others_come_and_go() -> None:
    classes, hashes = images(1000)
    for settings in (ValidationSettings(fraction=0.3), ValidationSettings(folds=4)):
        few = split_of(settings, classes[:500], hashes[:500]).part_of(classes[:500], hashes[:500])
        many = split_of(settings, classes, hashes).part_of(classes, hashes)
        np.testing.assert_array_equal(few, many[:500])


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=200), st.integers(2, 7))
def test_stratified_folds_share_every_class_evenly(labels: list[int], folds: int) -> None:
    classes = np.array(labels, np.int32)
    hashes = mixed(np.arange(len(labels)), 3)
    parts = split_of(ValidationSettings(folds=folds, stratify=True), classes, hashes).part_of(classes, hashes)
    for label in range(4):
        counts = np.bincount(parts[classes == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    assert parts.max() < folds


def test_stratified_fraction_is_exact_by_class() -> None:
    classes, hashes = images(1000)
    parts = split_of(ValidationSettings(fraction=0.1, stratify=True), classes, hashes).part_of(classes, hashes)
    for label in range(3):
        assert (parts[classes == label] == 0).sum() == round(0.1 * (classes == label).sum())


@given(
    st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 2**64 - 1)), max_size=60, unique_by=lambda image: image[1]),
    st.data(),
)
def test_values_at_ranks_are_those_of_sorting(found: list[tuple[int, int]], data: st.DataObject) -> None:
    classes = np.array([label for label, _ in found], np.int32)
    hashes = np.array([value for _, value in found], np.uint64)
    counts = [int((classes == label).sum()) for label in range(3)]
    ranks = np.array([[data.draw(st.integers(0, count)) for _ in range(2)] for count in counts])
    values = values_at(ranks, chunks_of(classes, hashes, size=7))
    for label, own in enumerate(values):
        ordered = [*sorted(hashes[classes == label].tolist()), 2**64 - 1]
        assert own.tolist() == [ordered[rank] for rank in ranks[label]]


def test_a_hundred_thousand_classes_are_ranked_in_little_memory() -> None:
    classes, hashes = images(200_000, classes=100_000)
    split = make_split(
        ValidationSettings(fraction=0.5, stratify=True), 100_000, chunks_of(classes, hashes, size=50_000)
    )
    parts = split.part_of(classes, hashes)
    counts = np.bincount(classes, minlength=100_000)
    np.testing.assert_array_equal(
        np.bincount(classes[parts == 0], minlength=100_000), np.rint(counts * 0.5).astype(int)
    )


def test_without_validation_all_images_are_for_training() -> None:
    classes, hashes = images(10)
    split = split_of(None, classes, hashes)
    assert split.parts == 1
    assert not split.part_of(classes, hashes).any()
    assert (training_parts(1, None), validation_parts(1, None)) == ({0}, frozenset())


def test_fold_is_measured_on_what_the_others_learn_from() -> None:
    assert (training_parts(3, 1), validation_parts(3, 1)) == ({0, 2}, {1})
    assert (training_parts(2, None), validation_parts(2, None)) == ({1}, {0})
