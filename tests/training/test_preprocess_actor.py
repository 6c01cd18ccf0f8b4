"""Images on their way from an actor to a worker."""

from __future__ import annotations

import numpy as np
import pytest

from vision_batch.errors import NotFoundError
from vision_batch.inference.message import pickled
from vision_batch.training.event import BrokenImage
from vision_batch.training.made import Made
from vision_batch.training.preprocess_actor import _row, decoded, encoded

BROKEN = BrokenImage(image_id="b", shard="s", row=1, error_code="empty", error="no bytes")


def made(number: int) -> Made:
    pixels = np.full((2, 3, 3), number, np.uint8)
    return Made(identity=number, image_id=str(number), pixels=pixels, target=np.array(number))


@pytest.mark.parametrize(
    "images",
    [
        [made(1), Made(identity=2, image_id="b", broken=BROKEN), made(3)],
        [Made(identity=2, image_id="b", broken=BROKEN)],
    ],
    ids=["some are broken", "all are broken"],
)
def test_images_arrive_as_they_were_sent(images: list[Made]) -> None:
    lane, received = decoded(encoded(7, images))
    assert lane == 7
    for sent, came in zip(images, received, strict=True):
        assert (came.identity, came.image_id, came.broken) == (sent.identity, sent.image_id, sent.broken)
        np.testing.assert_array_equal(came.pixels, sent.pixels)
        np.testing.assert_array_equal(came.target, sent.target)


def test_error_arrives_as_itself() -> None:
    row = _row(pickled((0, NotFoundError("s3://b/k", "is gone"))), b"")
    with pytest.raises(NotFoundError, match="is gone"):
        decoded(row)
