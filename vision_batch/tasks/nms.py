"""Of boxes that show the same thing the best one."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

ROOM: Final = 4
"""How many times as many boxes are looked at as are wanted; so many times more each time that too few stay."""


def best_of_overlapping(
    boxes: NDArray[np.floating], scores: NDArray[np.float32], classes: NDArray[np.integer], iou: float, *, most: int
) -> NDArray[np.intp]:
    """Indices of the boxes that stay, the best `most` of them, best first; of equal scores the lower index.

    A box goes where a better one of its class stays with which it shares more than `iou` of their union. `boxes` (K, 4)
    are x_min, y_min, x_max, y_max.
    """
    order = np.argsort(-scores, kind="stable")
    looked_at = ROOM * most
    while True:  # whether a box stays depends on better ones only, so that of many the best are enough
        best = order[:looked_at]
        kept = best[_kept(boxes[best], scores[best], classes[best], iou)]
        if len(kept) >= most or looked_at >= len(order):
            return kept[:most]
        looked_at *= ROOM


def _kept(
    boxes: NDArray[np.floating], scores: NDArray[np.float32], classes: NDArray[np.integer], iou: float
) -> NDArray[np.intp]:
    import cv2

    if not len(boxes):
        return np.empty(0, np.intp)
    corner, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    rectangles = np.concatenate([corner, size], axis=1).tolist()
    lowest = float(scores.min()) - 1  # OpenCV wants scores above it; what is too low has been left out before
    kept = cv2.dnn.NMSBoxesBatched(rectangles, scores.tolist(), classes.tolist(), lowest, iou)
    return np.asarray(kept, np.intp)


def overlaps(some: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union (M, N) of boxes (M, 4) and (N, 4): x_min, y_min, x_max, y_max. 0 where both are empty."""
    low = np.maximum(some[:, None, :2], others[None, :, :2]).astype(np.float64)
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    union = _areas(some)[:, None] + _areas(others)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _areas(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray((boxes[:, 2:].astype(np.float64) - boxes[:, :2]).prod(axis=1))
