"""The masks of COCO's annotations, in any of their three forms, as compressed counts.

Source of the forms and of how a polygon becomes pixels: maskApi.c of pycocotools (rleFrPoly), to the pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.tasks.rle import encode_spans, lengths_of

FINER: Final = 5
"""A polygon's outline is followed on a grid so many times finer than pixels."""
FAR: Final = 10
"""How many times the image's longer side a point may lie away: the way round a polygon is kept point by point."""


def mask_counts(segmentation: Any, height: int, width: int) -> str:
    """The compressed counts of a mask (height, width).

    `segmentation` is a list of polygons, each x0, y0, x1, y1, … in pixels, or an object with `counts`: the lengths of
    runs, or their compressed text. ValueError where it is none of these, or of another size.
    """
    if isinstance(segmentation, Mapping):
        return _from_counts(segmentation.get("counts"), height * width)
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, str) or not segmentation:
        raise ValueError(f"no polygons and no runs: {segmentation!r:.80}")
    spans = [polygon_spans(_points(polygon, FAR * max(height, width)), height, width) for polygon in segmentation]
    return encode_spans(spans[0] if len(spans) == 1 else _united(spans), height * width)


def polygon_spans(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.int64]:
    """First pixel and the one behind the last (R, 2) of each run of a polygon (K, 2), down the columns of the mask."""
    corners = (points * FINER + 0.5).astype(np.int64)
    x, y = _outline(corners, np.roll(corners, -1, axis=0))
    crossing = np.flatnonzero(x[1:] != x[:-1])
    column = (np.minimum(x[1:], x[:-1])[crossing] + 0.5) / FINER - 0.5
    row = np.ceil(np.clip((np.minimum(y[1:], y[:-1])[crossing] + 0.5) / FINER - 0.5, 0, height))
    inside = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    edges = np.sort((column[inside] * height + row[inside]).astype(np.int64))
    if len(edges) % 2:
        edges = np.append(edges, height * width)
    spans = edges.reshape(-1, 2)
    return spans[spans[:, 0] < spans[:, 1]]


def _outline(start: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """x and y (M,) of all points on the way round, one after the other, ends of edges twice.

    An edge is stepped along its longer axis. On the other axis it is rounded as seen from its lower end, so that both
    directions give the same points.
    """
    moves = (start != stop).any(axis=1)
    start, stop = start[moves], stop[moves]
    way = np.abs(stop - start)
    axis = np.where(way[:, 0] >= way[:, 1], 0, 1)
    edge = np.arange(len(axis))
    backwards = start[edge, axis] > stop[edge, axis]
    low, high = np.where(backwards[:, None], stop, start), np.where(backwards[:, None], start, stop)
    steps = way[edge, axis]
    slope = (high - low)[edge, 1 - axis] / steps
    owner = np.repeat(edge, steps + 1)
    step = np.arange(len(owner)) - np.repeat((steps + 1).cumsum() - steps - 1, steps + 1)
    step = np.where(backwards[owner], steps[owner] - step, step)
    along = low[edge, axis][owner] + step
    across = (low[edge, 1 - axis][owner] + slope[owner] * step + 0.5).astype(np.int64)
    is_x = axis[owner] == 0
    return np.where(is_x, along, across), np.where(is_x, across, along)


def _united(several: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The runs of all pixels that are in any of them."""
    spans = np.concatenate(several)
    edges = spans.ravel()
    change = np.tile([1, -1], len(spans))
    order = np.lexsort((-change, edges))  # where one ends and one begins it goes on
    depth = change[order].cumsum()
    begins, ends = (depth == 1) & (change[order] == 1), depth == 0
    return np.stack([edges[order][begins], edges[order][ends]], axis=1)


def _points(polygon: Any, farthest: int) -> NDArray[np.float64]:
    try:
        numbers = np.array(polygon, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no polygon: {polygon!r:.80}") from error
    if numbers.ndim != 1 or numbers.size < 6 or numbers.size % 2:
        raise ValueError(f"no polygon: {polygon!r:.80}")
    if not (np.abs(numbers) <= farthest).all():
        raise ValueError(f"a polygon with points farther than {farthest} pixels away: {polygon!r:.80}")
    return numbers.reshape(-1, 2)


def _from_counts(counts: Any, pixels: int) -> str:
    if isinstance(counts, str):
        lengths = lengths_of(counts)
    elif isinstance(counts, list) and all(isinstance(each, int) for each in counts):
        lengths = np.array(counts, np.int64)
    else:
        raise ValueError(f"no runs: {counts!r:.80}")
    if not len(lengths) or lengths.min() < 0 or lengths.sum() != pixels:
        raise ValueError(f"the runs have {lengths.sum()} pixels and the image {pixels}")
    if isinstance(counts, str):
        return counts
    edges = np.concatenate([[0], lengths.cumsum()])
    spans = edges[1 : 2 * (len(lengths) // 2) + 1].reshape(-1, 2)
    return encode_spans(spans[spans[:, 0] < spans[:, 1]], pixels)
