"""Models of transformers that give masks with classes (Mask2Former, MaskFormer), for detection and for segmentation.

A query has logits of classes, of which the last is that there is nothing, and logits of a mask (h, w), which lies over
the whole image. Scores are those of the library's post_process_instance_segmentation.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.nn.functional import interpolate

GRID: Final = {"mask2former": (384, 384)}
"""By `model_type` to what size the library interpolates masks before it scores them; others are scored as they are."""
NO_PLACES: Final = 1e-6
"""The library adds it to a mask's area, by which it divides."""


class Instances(torch.nn.Module):
    """Float32 images (N, 3, H, W), normalised, to N dicts of the best pairs of a query and a class, one for each query.

    `boxes` (Q, 4) are what a mask's likely places span, in pixels of the images, `scores` (Q,) the class's probability
    times the mean of the likely places', `labels` (Q,) class indices. `masks` (Q, h, w) are linear in the logits, from
    0 to 1 and 0.5 where both are as likely: so that between places 0.5 is where interpolated logits are 0.
    """

    def __init__(self, model: Any, *, masks: bool) -> None:
        """`masks` says whether any are to be given: they are by far the most of an answer."""
        super().__init__()
        self.model = model
        self.masks = masks
        self.grid = GRID.get(model.config.model_type)

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        answer = self.model(pixel_values=images)
        classes, masks = answer.class_queries_logits.float().softmax(-1)[..., :-1], answer.masks_queries_logits.float()
        return [self._found(*each, images.shape[2:]) for each in zip(classes, masks, strict=True)]

    def _found(self, classes: torch.Tensor, masks: torch.Tensor, size: torch.Size) -> dict[str, torch.Tensor]:
        """Of one image's probabilities (Q, C) and mask logits (Q, h, w)."""
        queries, count = classes.shape
        scores, pairs = classes.flatten().topk(queries)
        masks = masks[pairs // count]
        judged = masks
        if self.grid is not None:
            judged = interpolate(masks[None], size=self.grid, mode="bilinear", align_corners=False)[0]
        is_likely = judged > 0
        sure = (judged.sigmoid() * is_likely).sum((1, 2)) / (is_likely.sum((1, 2)) + NO_PLACES)
        found = {"boxes": _spans(is_likely, size), "scores": scores * sure, "labels": pairs % count}
        if self.masks:
            found["masks"] = 0.5 + masks / masks.abs().amax((1, 2), keepdim=True).clamp_min(NO_PLACES) / 2
        return found


class MaskClasses(torch.nn.Module):
    """The same models for segmentation: how likely each class is at each place, (N, C, h, w)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer = self.model(pixel_values=images)
        classes, masks = answer.class_queries_logits.softmax(-1)[..., :-1], answer.masks_queries_logits.sigmoid()
        return torch.einsum("nqc,nqhw->nchw", classes, masks)


def _spans(places: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Boxes (Q, 4) around the true ones of `places` (Q, h, w), which lie over `size`; 0 0 0 0 where none is true."""
    left, right = _ends(places.any(dim=1), size[1])
    top, bottom = _ends(places.any(dim=2), size[0])
    return torch.stack([left, top, right, bottom], dim=-1)


def _ends(line: torch.Tensor, px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the true ones of each line (Q, n) begin and end, in pixels of the `px` over which it lies."""
    count = line.shape[1]
    numbers = torch.arange(count, device=line.device)
    end = torch.where(line, numbers + 1, 0).amax(1)
    first = torch.minimum(torch.where(line, numbers, count).amin(1), end)
    return first * px / count, end * px / count
