"""The network of detect-train.yaml: a small detector that brings its loss, after FCOS (Tian et al., 2019).

Each cell of a coarse grid says which class has its middle there, or none, and how far the edges of its box are
(https://arxiv.org/abs/1904.01355). Several cells find the same thing: `task.nms_iou` keeps the best of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

CELL_PX = 8
MIDDLE = 0.3
"""Of a box: cells this near to its centre, in half widths and half heights, are to find it."""
FOREGROUND = 4.0
"""How much more a cell counts that has something to find: few have."""

Target = dict[str, Tensor]


def build(classes: int = 10, width: int = 16) -> nn.Module:
    """`width` is the channels of the finest level, at half the size."""
    return Detector(classes, width)


class Detector(nn.Module):
    """float32 RGB (N, 3, H, W), normalised, H and W divisible by 8, to boxes; in training, with targets, to losses."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.features = nn.Sequential(
            _convolve(3, width, stride=2),
            _convolve(width, 2 * width, stride=2),
            _convolve(2 * width, 2 * width),
            _convolve(2 * width, 4 * width, stride=2),
            _convolve(4 * width, 4 * width),
            _convolve(4 * width, 4 * width),
        )
        self.head = nn.Conv2d(4 * width, classes + 1 + 4, kernel_size=1)

    def forward(self, images: Tensor, targets: list[Target] | None = None) -> dict[str, Tensor]:
        """`logits` (N, Q, classes + 1), the last for nothing, and `pred_boxes` (N, Q, 4), for Q cells.

        With `targets`, boxes (K, 4) in pixels and labels (K,) for each image, it gives sums of losses instead.
        """
        size = images.new_tensor([images.shape[3], images.shape[2]])
        said = self.head(self.features(images))
        centres = _centres(said)
        said = said.flatten(2).transpose(1, 2)
        logits, edges = said[..., :-4], softplus(said[..., -4:]) * CELL_PX
        boxes = torch.cat([centres - edges[..., :2], centres + edges[..., 2:]], dim=-1)
        if targets is not None:
            return self._losses(logits, boxes, centres, targets)
        middle, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        return {"logits": logits, "pred_boxes": torch.cat([middle / size, sides / size], dim=-1)}

    def loss_weights(self, targets: list[Target]) -> dict[str, int]:
        """What the sums are to be divided by: the images, and the boxes."""
        return {"class": len(targets), "box": sum(len(target["boxes"]) for target in targets)}

    def _losses(self, logits: Tensor, boxes: Tensor, centres: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        classes, places = [], []
        for said, found, target in zip(logits, boxes, targets, strict=True):
            owner = _owners(centres, target["boxes"])
            wanted = torch.full_like(owner, self.classes)
            wanted[owner >= 0] = target["labels"][owner[owner >= 0]]
            weights = torch.where(owner >= 0, FOREGROUND, 1.0)
            classes.append((cross_entropy(said, wanted, reduction="none") * weights).mean())
            apart = 1 - _generous_iou(found[owner >= 0], target["boxes"][owner[owner >= 0]])
            places += [apart[owner[owner >= 0] == k].mean() for k in owner.unique() if k >= 0]
        return {"class": torch.stack(classes).sum(), "box": torch.stack([boxes.sum() * 0, *places]).sum()}


def _centres(said: Tensor) -> Tensor:
    """The middle of every cell, x and y in pixels, (Q, 2)."""
    rows, columns = (torch.arange(count, device=said.device) for count in said.shape[2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return (torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5) * CELL_PX


def _owners(centres: Tensor, boxes: Tensor) -> Tensor:
    """For each cell (Q,) the box that it is to find, or -1: it is near to its middle, or nearer than all others."""
    if not len(boxes):
        return torch.full((len(centres),), -1, device=centres.device)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    away = ((centres[:, None] - middle) / half.clamp(min=1)).abs().amax(dim=-1)  # (Q, K)
    distance, owner = away.min(dim=1)
    owner = torch.where(distance <= MIDDLE, owner, -1)
    owner[away.argmin(dim=0)] = torch.arange(len(boxes), device=boxes.device)
    return owner


def _generous_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """GIoU of pairs (K,), from -1 to 1 (Rezatofighi et al., 2019, https://arxiv.org/abs/1902.09630)."""
    inner = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp(min=0)
    outer = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    shared, around = inner.prod(dim=1), outer.prod(dim=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (others[:, 2:] - others[:, :2]).prod(dim=1) - shared
    return shared / union - (around - union) / around


def _convolve(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU())
