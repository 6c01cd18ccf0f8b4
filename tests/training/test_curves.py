"""The picture of a training."""

from __future__ import annotations

import math
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from vision_batch.training.curves import draw_curves
from vision_batch.training.event import TrainEvent


def epochs(count: int, *, every: int = 1) -> tuple[TrainEvent, ...]:
    """A training that is validated every so many epochs."""
    return tuple(
        TrainEvent(
            kind="epoch",
            epoch=epoch,
            step=epoch + 1,
            loss=math.exp(-epoch / 4),
            metrics={"loss": 0.3, "accuracy": 0.9} if epoch % every == 0 else {},
        )
        for epoch in range(count)
    )


@pytest.mark.parametrize(
    ("history", "height"), [((), 325), (epochs(1), 650), (epochs(50, every=7), 650), (epochs(3, every=9)[1:], 325)]
)
def test_it_is_as_wide_as_a_page_and_has_a_panel_for_the_metrics_that_there_are(
    history: tuple[TrainEvent, ...], height: int
) -> None:
    png = draw_curves(history, model_step=1)
    assert struct.unpack(">II", png[16:24]) == (800, height)


def test_both_losses_are_drawn() -> None:
    picture = cv2.imdecode(np.frombuffer(draw_curves(epochs(5), model_step=3), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(picture.astype(int) - colour).max(axis=2) < 8).sum() > 50


def test_matplotlib_is_loaded_when_something_is_drawn_and_not_before() -> None:
    code = "import sys, vision_batch.training.curves; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
