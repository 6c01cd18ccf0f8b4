"""The `preprocess:` part of a spec."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vision_batch.images.settings import PreprocessSettings


@pytest.mark.parametrize(
    ("steps", "square"),
    [
        ({"longest_px": 1333}, 1333),
        ({"longest_px": 1333, "round_up_px": 32}, 1344),
        ({"longest_px": 1333, "round_down_px": 16}, 1328),
        ({"longest_px": 800}, 800),
    ],
)
def test_bounded_pictures_share_a_square(steps: dict[str, int], square: int) -> None:
    assert PreprocessSettings(resize_shorter_px=800, **steps).output_px == (square, square)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({"longest_px": 80}, "longest_px together with resize_shorter_px"),
        ({"longest_px": 80, "resize_px": (60, 60)}, "longest_px together with resize_shorter_px"),
        ({"longest_px": 80, "resize_shorter_px": 60, "crop_px": 50}, "no crop_px"),
        ({"round_up_px": 32, "resize_shorter_px": 60}, "longest_px with round_up_px or round_down_px"),
        (
            {"longest_px": 80, "resize_shorter_px": 60, "round_up_px": 32, "round_down_px": 16},
            "only one of round_up_px, round_down_px",
        ),
    ],
)
def test_bounds_go_together(steps: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PreprocessSettings(**steps)


def test_what_is_recorded_has_bounds_only_where_there_are_any() -> None:
    """Definitions of outputs are compared by it, and there are outputs from before there were bounds."""
    assert list(PreprocessSettings(resize_px=(8, 8)).model_dump()) == [
        "function",
        "resize_shorter_px",
        "resize_px",
        "letterbox_px",
        "crop_px",
        "interpolation",
        "mean",
        "std",
    ]
    bounded = PreprocessSettings(resize_shorter_px=8, longest_px=12, round_up_px=4)
    assert bounded.model_dump()["longest_px"] == 12
    assert PreprocessSettings.model_validate(bounded.model_dump(mode="json")) == bounded
