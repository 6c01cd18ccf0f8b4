"""Matching and precision are COCO's own, on random objects and on the odd ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.evaluation.coco_truths import class_precision, class_recall, coco_evaluation
from vision_batch.evaluation import matching
from vision_batch.evaluation.detection_facts import DetectionFacts, DetectionSums
from vision_batch.evaluation.matching import THRESHOLDS, box_overlap, judge
from vision_batch.evaluation.objects import Objects


def random_objects(
    random: np.random.Generator, count: int, *, images: int, labels: int, crowds: bool, scores: int
) -> Objects:
    """Boxes on a coarse grid of three sizes, so that overlaps, areas and scores are often equal."""
    size = random.choice([8, 40, 120], (count, 1)) * random.integers(1, 4, (count, 2)) / 2
    low = random.integers(0, 12, (count, 2)) * 10.0
    return Objects(
        image=np.sort(random.integers(0, images, count)),
        label=random.integers(0, labels, count),
        edges=np.concatenate([low, low + size], axis=1),
        area=size.prod(axis=1),
        score=random.integers(1, scores + 1, count).astype(np.float32) / scores if scores else np.zeros(count, "f4"),
        is_crowd=random.random(count) < 0.15 if crowds else np.zeros(count, np.bool_),
        mask=np.arange(count),
    )


def nearby(random: np.random.Generator, truth: Objects, *, scores: int) -> Objects:
    """What a model finds: most true objects, some of them twice, moved a little and sometimes misnamed."""
    chosen = np.sort(random.choice(len(truth), int(len(truth) * 1.3)))
    edges = truth.edges[chosen] + random.choice([0, 0, 1, 4], (len(chosen), 4))
    return Objects(
        image=truth.image[chosen],
        label=np.where(random.random(len(chosen)) < 0.9, truth.label[chosen], 0),
        edges=edges,
        area=(edges[:, 2:] - edges[:, :2]).prod(axis=1),
        score=random.integers(1, scores + 1, len(chosen)).astype(np.float32) / scores,
        is_crowd=np.zeros(len(chosen), np.bool_),
        mask=np.arange(len(chosen)),
    )


def check(found: Objects, truth: Objects, *, images: int, labels: int) -> None:
    evaluation = coco_evaluation(found, truth, images=images, labels=labels)
    sums = DetectionSums()
    sums.add(DetectionFacts.of(judge(found, truth, box_overlap), images))
    results = sums.classes()
    for label in range(labels):
        if label in results:
            np.testing.assert_allclose(results[label].precision, class_precision(evaluation, label), atol=1e-12)
            np.testing.assert_allclose(results[label].recall, class_recall(evaluation, label), atol=1e-12)
            assert results[label].precision_error == 0
        else:
            assert np.isnan(class_precision(evaluation, label)).all()


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(0, 40), st.integers(1, 4), st.integers(1, 3))
def test_anything_found_is_judged_as_coco_does(seed: int, found: int, truth: int, images: int, labels: int) -> None:
    random = np.random.default_rng(seed)
    check(
        random_objects(random, found, images=images, labels=labels, crowds=False, scores=6),
        random_objects(random, truth, images=images, labels=labels, crowds=True, scores=0),
        images=images,
        labels=labels,
    )


@given(st.integers(0, 2**32))
@settings(max_examples=30)
def test_a_good_model_is_judged_as_coco_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random_objects(random, 200, images=20, labels=3, crowds=True, scores=0)
    check(nearby(random, truth, scores=20), truth, images=20, labels=3)


def test_more_than_a_hundred_of_a_class_in_an_image_are_cut_as_coco_does() -> None:
    random = np.random.default_rng(0)
    truth = random_objects(random, 260, images=2, labels=1, crowds=False, scores=0)
    check(nearby(random, truth, scores=1000), truth, images=2, labels=1)


def test_groups_that_are_matched_apart_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    truth = random_objects(random, 300, images=10, labels=3, crowds=True, scores=0)
    found = nearby(random, truth, scores=50)
    whole = judge(found, truth, box_overlap)
    monkeypatch.setattr(matching, "WORKED_AT_ONCE", 1)
    apart = judge(found, truth, box_overlap)
    np.testing.assert_array_equal(whole.right, apart.right)
    np.testing.assert_array_equal(whole.counted, apart.counted)


def one_image(*boxes: tuple[float, float, float, float], score: float = 0, is_crowd: bool = False) -> Objects:
    edges: NDArray[np.float64] = np.array(boxes, float).reshape(-1, 4)
    return Objects(
        image=np.zeros(len(edges), np.int64),
        label=np.zeros(len(edges), np.int64),
        edges=edges,
        area=(edges[:, 2:] - edges[:, :2]).prod(axis=1),
        score=np.full(len(edges), score, np.float32),
        is_crowd=np.full(len(edges), is_crowd),
        mask=np.arange(len(edges)),
    )


def test_a_true_object_is_found_once_and_a_crowd_any_number_of_times() -> None:
    twice = one_image((0, 0, 50, 50), (0, 0, 50, 50), score=0.5)
    verdicts = judge(twice, one_image((0, 0, 50, 50)), box_overlap)
    assert verdicts.right[:, : len(THRESHOLDS)].all(axis=1).tolist() == [True, False]
    assert verdicts.counted[:, : len(THRESHOLDS)].all()
    in_crowd = judge(twice, one_image((0, 0, 200, 200), is_crowd=True), box_overlap)
    assert not in_crowd.right.any()
    assert not in_crowd.counted.any()


def test_an_empty_box_overlaps_with_nothing() -> None:
    assert box_overlap(one_image((5, 5, 5, 9)), one_image((0, 0, 50, 50))).tolist() == [0]
