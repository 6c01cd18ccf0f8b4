"""The overlap of masks, from their runs, is COCO's; and so are the numbers that come of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from tests.evaluation.coco_truths import class_precision, class_recall, coco_evaluation
from vision_batch.evaluation import mask_overlap
from vision_batch.evaluation.detection_facts import DetectionFacts, DetectionSums
from vision_batch.evaluation.mask_overlap import MaskOverlap, Masks
from vision_batch.evaluation.matching import judge
from vision_batch.evaluation.objects import Objects

SIZE = 60, 75


def counts_of(mask: NDArray[np.bool_]) -> str:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def random_masks(random: np.random.Generator, count: int) -> list[str]:
    """Noise, blobs of three sizes, everything and nothing."""
    masks = []
    for _ in range(count):
        mask = np.zeros(SIZE, np.bool_)
        kind = random.integers(0, 10)
        if kind == 0:
            mask = random.random(SIZE) < 0.5
        elif kind == 1:
            mask[:] = True
        elif kind > 2:
            size = random.choice([4, 15, 40])
            top, left = random.integers(0, 30, 2)
            mask[top : top + size, left : left + size] = (
                random.random(mask[top : top + size, left : left + size].shape) < 0.9
            )
        masks.append(counts_of(mask))
    return masks


def objects(random: np.random.Generator, masks: Masks, *, images: int, labels: int, crowds: bool) -> Objects:
    count = len(masks.area)
    return Objects(
        image=np.sort(random.integers(0, images, count)),
        label=random.integers(0, labels, count),
        edges=np.zeros((count, 4)),
        area=masks.area.astype(np.float64),
        score=random.integers(1, 9, count).astype(np.float32) / 8,
        is_crowd=random.random(count) < 0.2 if crowds else np.zeros(count, np.bool_),
        mask=np.arange(count),
    )


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 12))
def test_every_pair_overlaps_as_pycocotools_says(seed: int, found_count: int, truth_count: int) -> None:
    random = np.random.default_rng(seed)
    texts = random_masks(random, found_count), random_masks(random, truth_count)
    found, truth = (Masks.of(each) for each in texts)
    one = objects(random, found, images=1, labels=1, crowds=False)
    other = objects(random, truth, images=1, labels=1, crowds=True)
    pairs = np.divmod(random.permutation(found_count * truth_count), truth_count)
    coco = [[{"size": list(SIZE), "counts": counts} for counts in each] for each in texts]
    expected = coco_mask.iou(*coco, other.is_crowd.astype(np.uint8))
    overlap = MaskOverlap(found=found, truth=truth)(one.take(pairs[0]), other.take(pairs[1]))
    np.testing.assert_allclose(overlap, expected[pairs], rtol=1e-14)


def test_pairs_in_pieces_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    masks = Masks.of(random_masks(random, 12))
    overlap = MaskOverlap(found=masks, truth=masks)
    one = objects(random, masks, images=1, labels=1, crowds=True)
    pairs = [one.take(each) for each in np.divmod(np.arange(144), 12)]
    whole = overlap(*pairs)
    monkeypatch.setattr(mask_overlap, "RUNS_AT_ONCE", 1)
    np.testing.assert_array_equal(overlap(*pairs), whole)


@given(st.integers(0, 2**32))
def test_instances_are_judged_as_coco_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    texts = random_masks(random, 30), random_masks(random, 20)
    found, truth = (Masks.of(each) for each in texts)
    ours = objects(random, found, images=3, labels=2, crowds=False)
    true = objects(random, truth, images=3, labels=2, crowds=True)
    evaluation = coco_evaluation(ours, true, images=3, labels=2, size=SIZE, masks=texts)
    sums = DetectionSums()
    sums.add(DetectionFacts.of(judge(ours, true, MaskOverlap(found=found, truth=truth)), 3))
    for label, result in sums.classes().items():
        np.testing.assert_allclose(result.precision, class_precision(evaluation, label), atol=1e-12)
        np.testing.assert_allclose(result.recall, class_recall(evaluation, label), atol=1e-12)


def test_no_masks_are_no_runs() -> None:
    assert len(Masks.of([]).area) == 0
