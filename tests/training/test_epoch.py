"""The laws of an epoch's order: every image once, whoever serves it; each epoch another order, the same every time."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.training.catalogues import made_up
from vision_batch.training.catalogue import Catalogue
from vision_batch.training.epoch import EpochPlan
from vision_batch.training.settings import ValidationSettings

BLOCKS = st.lists(st.lists(st.integers(-1, 2), min_size=1, max_size=40), min_size=1, max_size=12)
LANES = st.sampled_from([1, 3, 8, 64])
Image = tuple[int, int, int]
"""Block, row, identity."""


def positions(plan: EpochPlan, epoch: int) -> list[Image]:
    """What is at each position of an epoch, from its lanes' pools."""
    lanes = plan.catalogue.lanes
    found: dict[int, Image] = {}
    for number in range(lanes):
        lane = plan.lane(epoch, number)
        for pool in (lane.pool(index) for index in range(lane.pools)):
            assert len(pool.order) < 2 * plan.catalogue.pool_rows
            images: list[Image] = []
            for piece in pool.pieces:
                assert piece.begin < piece.end <= piece.stop
                block, rows, identities = plan.rows_of(epoch, piece.unit)
                own = zip(rows[piece.begin : piece.end], identities[piece.begin : piece.end], strict=True)
                images += [(block, int(row), int(identity)) for row, identity in own]
            assert sorted(pool.order) == list(range(len(images)))
            for place, index in enumerate(pool.order):
                found[(pool.start + place) * lanes + number] = images[index]
            assert all(lane.pool_at(pool.start + place) == lane.pool_at(pool.start) for place in range(len(images)))
    assert sorted(found) == list(range(plan.images))
    return [found[position] for position in range(plan.images)]


def every_image(catalogue: Catalogue) -> list[tuple[int, int]]:
    return [(block, row) for block, rows in enumerate(catalogue.blocks["rows"]) for row in range(rows)]


@given(BLOCKS, LANES, st.integers(1, 20), st.integers(0, 5))
def test_every_image_is_at_one_position(blocks: list[list[int]], lanes: int, pool_rows: int, epoch: int) -> None:
    catalogue = made_up(blocks, lanes=lanes, pool_rows=pool_rows)
    plan = EpochPlan(catalogue, frozenset({0}), seed=1)
    images = positions(plan, epoch)
    assert sorted(image[:2] for image in images) == every_image(catalogue)
    assert len({identity for *_, identity in images}) == plan.images
    assert plan.line(epoch).checksum == sum(identity for *_, identity in images) % 2**64


@given(BLOCKS, LANES, st.integers(2, 4))
def test_parts_have_every_image_together(blocks: list[list[int]], lanes: int, folds: int) -> None:
    catalogue = made_up(blocks, lanes=lanes, validation=ValidationSettings(folds=folds))
    plans = [EpochPlan(catalogue, frozenset({part}), seed=1) for part in range(folds)]
    found = [positions(plan, 0) for plan in plans]
    assert sorted(image[:2] for images in found for image in images) == every_image(catalogue)
    rest = EpochPlan(catalogue, frozenset(range(1, folds)), seed=1)
    assert sorted(positions(rest, 0)) == sorted(image for images in found[1:] for image in images)
    checksums = [plan.line(0).checksum for plan in plans]
    assert checksums == [sum(identity for *_, identity in images) % 2**64 for images in found]


def test_order_follows_from_seed_and_epoch_and_nothing_else() -> None:
    catalogue = made_up([[0] * 30] * 20)
    orders = [
        positions(EpochPlan(catalogue, frozenset({0}), seed=seed), epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    again = positions(EpochPlan(made_up([[0] * 30] * 20), frozenset({0}), seed=1), 0)
    assert again == orders[0]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        same = sum(a == b for a, b in zip(orders[one], orders[other], strict=True))
        assert same < 20, "of 600 images about one stays in its place by chance"


def test_order_never_changes_between_versions() -> None:
    """A resume finds the order that the run before it had, also with another version of numpy or of this package."""
    plan = EpochPlan(made_up([[0] * 5] * 4, lanes=2, pool_rows=4), frozenset({0}), seed=3)
    assert [image[:2] for image in positions(plan, 2)][:6] == FIRST_SIX


FIRST_SIX = [(0, 1), (3, 2), (0, 2), (3, 1), (0, 3), (3, 0)]


def test_batches_of_a_sorted_input_are_mixed() -> None:
    """Of ten classes that lie one after the other, 64 consecutive positions have nearly all, in every epoch."""
    catalogue = made_up([[label] * 25 for label in range(10) for _ in range(20)], classes=10, pool_rows=19)
    plan = EpochPlan(catalogue, frozenset({0}), seed=0)
    for epoch in range(3):
        labels = [block // 20 for block, *_ in positions(plan, epoch)]
        kinds = [len(set(labels[start : start + 64])) for start in range(0, len(labels) - 64, 64)]
        assert min(kinds) >= 7
        assert np.mean(kinds) >= 9


@given(BLOCKS, st.sampled_from(["balanced", "sqrt"]), st.integers(0, 3))
def test_sampling_shows_each_class_as_often_as_it_is_to_be(blocks: list[list[int]], sampling: str, epoch: int) -> None:
    catalogue = made_up(blocks, lanes=8)
    if not catalogue.class_images.any():
        return
    plan = EpochPlan(catalogue, frozenset({0}), seed=1, sampling=sampling)  # type: ignore[arg-type]
    images = positions(plan, epoch)
    labels = {(block, row): label for block, rows in enumerate(blocks) for row, label in enumerate(rows)}
    shown = Counter(labels[image[:2]] for image in images)
    counts = catalogue.class_images[0]
    weights = np.where(counts > 0, counts**0.5 if sampling == "sqrt" else 1.0, 0)
    wished = np.minimum(weights / weights.sum() * counts.sum(), 64 * counts)
    np.testing.assert_allclose([shown[label] for label in range(3)], wished, atol=0.5 + 1e-9)
    assert shown[-1] == sum(label == -1 for rows in blocks for label in rows), "images without a class come once"
    for label in range(3):
        times = Counter(image[:2] for image in images if labels[image[:2]] == label)
        if counts[label] and shown[label] >= counts[label]:
            assert max(times.values()) - min(times.values()) <= 1
    assert len({identity for *_, identity in images}) == plan.images, "copies are pictures of their own"
    assert plan.line(epoch).checksum == sum(identity for *_, identity in images) % 2**64


def test_sampling_leaves_out_others_in_another_epoch() -> None:
    catalogue = made_up([[0] * 90, [1] * 10], lanes=4)
    plan = EpochPlan(catalogue, frozenset({0}), seed=1, sampling="balanced")
    first, second = ({image[:2] for image in positions(plan, epoch)} for epoch in (0, 1))
    assert len(first) == len(second) == 60
    assert first != second


def test_a_hundred_thousand_blocks_take_little_time_and_memory() -> None:
    import time
    import tracemalloc

    catalogue = made_up([[0]], lanes=64, pool_rows=256)
    many = 100_000
    catalogue.blocks.update({name: np.arange(many) for name in ("shard", "row_at")})
    catalogue.blocks.update(first=np.zeros(many, np.int64), rows=np.full(many, 1000))
    object.__setattr__(catalogue, "counts", np.full((many, 1), 1000))
    object.__setattr__(catalogue, "sums", np.ones((many, 1), np.uint64))
    plan = EpochPlan(catalogue, frozenset({0}), seed=0)
    tracemalloc.start()
    start = time.process_time()
    pools = [plan.lane(0, number).pool(0) for number in range(64)]
    assert time.process_time() - start < 2
    assert tracemalloc.get_traced_memory()[1] < 30 << 20
    tracemalloc.stop()
    assert plan.images == 10**8
    assert sum(len(pool.order) for pool in pools) < 64 * 512
