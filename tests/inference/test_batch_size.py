"""How many images a model is given at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.inference.batch_size import BatchSize

Seconds = Callable[[int], float]


class Device:
    """Takes `seconds(rows)` for a batch, and has the memory for `most` images."""

    def __init__(self, seconds: Seconds, most: int | None = None) -> None:
        self.seconds = seconds
        self.most = most
        self.batches: list[int] = []
        self.known: set[int] = set()

    def predict(self, size: BatchSize, count: int) -> None:
        """One chunk of `count` images, as the model stage gives them."""
        start = 0
        while start < count:
            rows = size.next_rows(count - start)
            assert 1 <= rows <= count - start
            start += rows
            self.batches.append(rows)
            while self.most is not None and rows > self.most:
                size.out_of_memory(rows)
                rows = max(1, rows // 2)
            size.learn(rows, self.seconds(rows) * (1 if rows in self.known else 20))  # the first call of a size is slow
            self.known.add(rows)


def overhead(rows: int) -> float:
    return 0.01 + 0.0001 * rows


def early_knee(rows: int) -> float:
    return 0.002 + 0.001 * rows


def caches(rows: int) -> float:
    """Small batches stay in the caches: 32 are best."""
    return 0.001 + rows * (0.0001 if rows <= 32 else 0.00013)


def staircase(rows: int) -> float:
    return 0.001 * -(-rows // 48)


CURVES = [overhead, early_knee, caches, staircase]


@pytest.mark.parametrize("seconds", CURVES)
@pytest.mark.parametrize("most", [128, 256, 1024, 445])
def test_what_is_found_is_within_5_percent_of_the_best_of_a_sweep(seconds: Seconds, most: int) -> None:
    device, size = Device(seconds), BatchSize(most, trial=True)
    for _ in range(20):
        device.predict(size, most)
    assert size.found is not None
    sweep = [rows for rows in (8 << step for step in range(8)) if rows < most] + [most]
    best = max(rows / seconds(rows) for rows in sweep)
    assert size.found / seconds(size.found) >= 0.95 * best


@pytest.mark.parametrize("seconds", CURVES)
def test_it_is_nearly_always_found_although_other_work_disturbs_the_machine(seconds: Seconds) -> None:
    best = max(rows / seconds(rows) for rows in (8, 16, 32, 64, 128, 256))
    good = 0
    for seed in range(50):
        dice = random.Random(seed)
        device = Device(lambda rows, dice=dice: seconds(rows) * (1 if dice.random() < 0.75 else 3))  # type: ignore[misc]
        size = BatchSize(256, trial=True)
        for _ in range(20):
            device.predict(size, 256)
        assert size.found is not None
        good += size.found / seconds(size.found) >= 0.95 * best
    assert good >= 47


def test_the_trial_costs_a_few_chunks() -> None:
    device, size = Device(overhead), BatchSize(128, trial=True)
    for _ in range(10):
        device.predict(size, 128)
    assert (size.found, device.batches[-1]) == (128, 128)


def test_of_sizes_that_are_as_fast_the_largest_is_taken() -> None:
    device, size = Device(lambda rows: rows / 1000), BatchSize(64, trial=True)
    for _ in range(10):
        device.predict(size, 64)
    assert size.found == 64


@given(st.lists(st.integers(1, 300), min_size=60, max_size=60), st.sampled_from([1, 8, 9, 128, 256]))
def test_chunks_of_any_sizes_are_covered_and_each_size_is_tried_a_few_times(counts: list[int], most: int) -> None:
    device, size = Device(overhead), BatchSize(most, trial=True)
    tried = 0
    for count in counts:
        before = len(device.batches)
        device.predict(size, min(count, most))
        assert sum(device.batches[before:]) == min(count, most)
        tried += size.trying
    assert size.found is None or size.found <= most
    assert tried <= 4 * 6


def test_small_shards_at_first_do_not_decide_for_large_ones() -> None:
    device, size = Device(overhead), BatchSize(256, trial=True)
    for _ in range(20):
        device.predict(size, 10)
    assert (size.found, device.batches[-1]) == (8, 10)
    for _ in range(20):
        device.predict(size, 50)
    assert (size.found, device.batches[-1]) == (64, 50)
    for _ in range(20):
        device.predict(size, 256)
    assert (size.found, device.batches[-1]) == (256, 256)


def test_without_a_trial_the_size_is_what_was_said_and_rests_are_shared_out() -> None:
    size = BatchSize(128, trial=False)
    assert (size.found, list(rows_of(size, 128)), list(rows_of(size, 129))) == (128, [128], [65, 64])


def rows_of(size: BatchSize, count: int) -> Iterator[int]:
    while count:
        yield (rows := size.next_rows(count))
        count -= rows


@pytest.mark.parametrize("trial", [True, False])
def test_what_the_memory_does_not_hold_is_never_asked_for_again(trial: bool) -> None:
    device, size = Device(overhead, most=50), BatchSize(256, trial=trial)
    for _ in range(10):
        device.predict(size, 256)
    assert size.found is not None
    assert 25 <= size.found <= 50
    assert sum(rows > 50 for rows in device.batches) <= 3


def test_a_device_without_memory_for_the_smallest_that_is_tried() -> None:
    device, size = Device(overhead, most=1), BatchSize(64, trial=True)
    device.predict(size, 64)
    assert size.found == 1
