"""A module that is called on pictures of their own size, cut out of the squares in which they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch

Sizes: TypeAlias = Sequence[tuple[int, int]]
"""Of each image height and width in pixels, from the top left corner: beyond lies what fills the batch's size."""


class BySize(torch.nn.Module):
    """Calls `module` on the images of one size together, so that no image's answer depends on another's size.

    What models make of padding differs from what they make of the picture alone, also where a mask tells them of it:
    convolutions see across its edge. Here there is none. `module` gives a list with a dict of tensors for each image.
    """

    takes_sizes = True

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor, sizes: Sizes | None = None) -> list[Any]:
        """Float32 images (N, 3, H, W) to one answer each; without `sizes` they all fill it."""
        whole = tuple(images.shape[2:])
        if sizes is None or all(size == whole for size in sizes):
            answers: list[Any] = self.module(images)
            return answers
        found: dict[int, Any] = {}
        for size in dict.fromkeys(sizes):
            members = [index for index, each in enumerate(sizes) if each == size]
            pictures = torch.stack([images[index, :, : size[0], : size[1]] for index in members])
            found |= zip(members, self.module(pictures), strict=True)
        return [found[index] for index in range(len(sizes))]
