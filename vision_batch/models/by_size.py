"""A module that is called on pictures of their own size, cut out of the squares in which they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import torch

Sizes: TypeAlias = Sequence[tuple[int, int]]
"""Of each image height and width in pixels, from the top left corner: beyond lies what fills the batch's size."""

MASKS: Final = "masks"
"""Of an image's answer what lies over the picture: (K, h, w)."""


class BySize(torch.nn.Module):
    """Calls `module` on the images of one size together, so that no image's answer depends on another's size.

    What models make of padding differs from what they make of the picture alone, also where a mask tells them of it:
    convolutions see across its edge. Here there is none. `module` answers with a dict of tensors for each image, or
    with one tensor (N, C, h, w) that lies over the images.
    """

    takes_sizes = True

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor, sizes: Sizes | None = None) -> Any:
        """Of float32 images (N, 3, H, W) what `module` says of them, over H x W; without `sizes` they all fill it."""
        whole = images.shape[2], images.shape[3]
        if sizes is None or all(size == whole for size in sizes):
            return self.module(images)
        found: dict[int, Any] = {}
        for size in dict.fromkeys(sizes):
            members = [index for index, each in enumerate(sizes) if each == size]
            pictures = torch.stack([images[index, :, : size[0], : size[1]] for index in members])
            answers = [_over(answer, size, whole) for answer in self.module(pictures)]
            found |= zip(members, answers, strict=True)
        ordered = [found[index] for index in range(len(sizes))]
        return _stacked(ordered, whole) if isinstance(ordered[0], torch.Tensor) else ordered


def _stacked(answers: list[torch.Tensor], whole: tuple[int, int]) -> torch.Tensor:
    """(N, C, h, w) of N answers over images of the `whole` size; where their places differ, one for each pixel."""
    if len({answer.shape for answer in answers}) > 1:
        answers = [_resized(answer, whole) for answer in answers]
    return torch.stack(answers)


def _over(answer: Any, size: tuple[int, int], whole: tuple[int, int]) -> Any:
    """An answer for a picture of `size` as one for the image of the `whole` size in whose corner it lies."""
    if isinstance(answer, torch.Tensor):
        return _extended(answer, size, whole)
    return {name: _extended(value, size, whole) if name == MASKS else value for name, value in answer.items()}


def _extended(places: torch.Tensor, size: tuple[int, int], whole: tuple[int, int]) -> torch.Tensor:
    """Numbers (K, h, w) that lie over a picture, as numbers over the whole image: the outermost go on beyond it.

    Where no whole number of places would fit they are interpolated to the picture's pixels before.
    """
    steps = size[0] // places.shape[1], size[1] // places.shape[2]
    if any(
        px % places.shape[axis] or all_px % steps[axis - 1]
        for axis, px, all_px in zip((1, 2), size, whole, strict=True)
    ):
        places = _resized(places, size)
        steps = 1, 1
    below, beside = (whole[0] - size[0]) // steps[0], (whole[1] - size[1]) // steps[1]
    return torch.nn.functional.pad(places, (0, beside, 0, below), mode="replicate")


def _resized(places: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(places[None], size=size, mode="bilinear", align_corners=False)[0]
