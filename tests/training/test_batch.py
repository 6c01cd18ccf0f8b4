"""What the loop is told of a batch."""

from __future__ import annotations

import numpy as np

from vision_batch.training.batch import Batch


def batch(identities: list[int], broken: list[int]) -> Batch:
    count = len(identities)
    return Batch(
        start=0,
        stop=count + len(broken),
        pixels=np.zeros((count, 2, 2, 3), np.uint8),
        targets=np.zeros(count, np.int64),
        identities=np.array(identities, np.uint64),
        image_ids=tuple(map(str, identities)),
        broken_identities=np.array(broken, np.uint64),
    )


def test_checksum_adds_good_and_broken_images_within_64_bits() -> None:
    assert batch([1, 2**63], [2**63]).checksum == 1
    assert batch([], []).checksum == 0


def test_length_is_that_of_the_good_images() -> None:
    assert len(batch([1, 2], [3])) == 2
