"""Object detectors of transformers as modules of the task detection, with the scores of the library's own processors.

Each maps float32 images (N, 3, H, W), normalised, to N dicts of a box per query: `boxes` (Q, 4) x_min, y_min, x_max,
y_max in pixels of these images, `scores` (Q,) in [0, 1], `labels` (Q,) of class indices.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

Target: TypeAlias = dict[str, torch.Tensor]
"""Of one image to learn from: `boxes` (K, 4), corners in pixels, and `labels` (K,)."""


class SoftmaxDetector(torch.nn.Module):
    """Of each query the best class; the last class of the model is that there is no object."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        answer = self.model(pixel_values=images)
        scores, labels = answer.logits.float().softmax(-1)[..., :-1].max(-1)
        return _by_image(_corners(answer.pred_boxes, images), scores, labels)


class SigmoidDetector(torch.nn.Module):
    """Of all pairs of a query and a class the best, as many as there are queries: a query's box may come repeatedly."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        answer = self.model(pixel_values=images)
        queries, classes = answer.logits.shape[1:]
        scores, pairs = answer.logits.float().sigmoid().flatten(1).topk(queries)
        boxes = _corners(answer.pred_boxes, images)
        chosen = boxes.gather(1, (pairs // classes)[..., None].expand(-1, -1, 4))
        return _by_image(chosen, scores, pairs % classes)


def _corners(boxes: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Centre x, y, width, height (N, Q, 4), relative to the images, as corners in their pixels."""
    height, width = images.shape[2:]
    x, y, across, down = boxes.float().unbind(-1)  # bf16 has steps of 4 px beyond 512
    left, right, top, bottom = x - across / 2, x + across / 2, y - down / 2, y + down / 2
    return torch.stack([left * width, top * height, right * width, bottom * height], dim=-1)


def relative_centres(boxes: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Corners (K, 4) in pixels as centre x, y, width, height, relative to the images: the other way round."""
    height, width = images.shape[2:]
    low, high = boxes[:, :2], boxes[:, 2:]
    return torch.cat([(low + high) / 2, high - low], dim=1) / boxes.new_tensor([width, height] * 2)


def _by_image(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return [{"boxes": boxes[index], "scores": scores[index], "labels": labels[index]} for index in range(len(boxes))]
