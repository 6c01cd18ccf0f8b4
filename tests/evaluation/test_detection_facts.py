"""Facts of images can be chosen, put together and weighted, as if the images had been repeated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.test_matching import nearby, random_objects
from vision_batch.evaluation.detection_facts import ClassResult, DetectionFacts, DetectionSums
from vision_batch.evaluation.matching import box_overlap, judge

IMAGES = 12


def facts(seed: int) -> DetectionFacts:
    random = np.random.default_rng(seed)
    truth = random_objects(random, 60, images=IMAGES, labels=3, crowds=True, scores=0)
    found = nearby(random, truth, scores=1)
    distinct = random.permutation(len(found)).astype(np.float32)  # the order of equal scores is that of images
    return DetectionFacts.of(judge(replace(found, score=distinct), truth, box_overlap), IMAGES)


def results(*several: DetectionFacts) -> dict[int, ClassResult]:
    sums = DetectionSums()
    for each in several:
        sums.add(each)
    return sums.classes()


def assert_same(found: dict[int, ClassResult], expected: dict[int, ClassResult]) -> None:
    assert list(found) == list(expected)
    for label, result in found.items():
        np.testing.assert_allclose(result.precision, expected[label].precision)
        np.testing.assert_allclose(result.recall, expected[label].recall)
        np.testing.assert_array_equal(result.expected, expected[label].expected)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_batches_add_up_to_the_whole(one: int, other: int) -> None:
    parts = [facts(one), facts(other)]
    whole = DetectionFacts.merged(parts)
    assert len(whole) == 2 * IMAGES
    assert_same(results(*parts), results(whole))


@given(st.integers(0, 1000), st.lists(st.integers(0, IMAGES - 1), max_size=30))
def test_a_weight_is_as_good_as_repetition(seed: int, chosen: list[int]) -> None:
    indices = np.array(chosen, np.int64)
    weights = np.bincount(indices, minlength=IMAGES)
    weighted = DetectionSums()
    weighted.add(facts(seed), weights)
    repeated = results(facts(seed).take(indices))
    kept = {label: result for label, result in weighted.classes().items() if label in repeated}
    assert_same(kept, repeated)
