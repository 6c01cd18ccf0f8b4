"""Which found object is which true one: COCO's greedy matching, for many images at once.

The rules are those of COCO's own evaluation (pycocotools.cocoeval, `evaluateImg`), to the order of ties:

- objects match within their image and class; the highest score goes first, of equal ones the one that is listed first;
- it takes the free true object of the highest overlap (IoU), of equal ones the one that is listed last, if that reaches
  the threshold; only when no other does, one that is to be ignored;
- true objects are ignored if they are crowds, which any number may match, or if their area is outside the range that
  is looked at; what was found is ignored if it matched an ignored one, or matched none and is outside of the range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.objects import Objects

THRESHOLDS: Final[NDArray[np.float64]] = np.linspace(0.5, 0.95, 10)
"""COCO's ten overlaps (IoU) from which two objects are the same."""
AREAS: Final[dict[str, tuple[float, float]]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""COCO's ranges of areas in square pixels, both ends inside."""
MOST_FOUND: Final = 100
"""Of the objects that were found of one class in one image so many count, those of the highest scores."""
VERDICTS: Final = len(AREAS) * len(THRESHOLDS)
"""Each object that was found is judged for every range of areas and, within it, every threshold."""
WORKED_AT_ONCE: Final = 1 << 22
"""Verdicts about pairs of objects that are held at the same time, some bytes each."""

Overlap: TypeAlias = Callable[[Objects, Objects], NDArray[np.float64]]
"""The IoU of n found objects with n true ones, pair by pair: (n,)."""

_RANGES = np.array(list(AREAS.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What was found, by image and class, highest scores first, and what of it is right.

    `rank` (n,) is an object's place among those of its image and class. `right` and `counted` (n, VERDICTS) say whether
    it matched, and whether it counts at all. `expected` (m, 4) counts what is to be found of one class in an image, for
    each range of areas, crowds left out; `truth_image` and `truth_label` (m,) say where.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float32]
    rank: NDArray[np.int64]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    truth_image: NDArray[np.int64]
    truth_label: NDArray[np.int64]
    expected: NDArray[np.int64]


def judge(found: Objects, truth: Objects, overlap: Overlap) -> Verdicts:
    """Matches what was found with what is there, image by image and class by class."""
    found, found_groups = _grouped(found, by_score=True)
    rank = found_groups.place(len(found))
    kept = rank < MOST_FOUND
    if not kept.all():
        found, found_groups = _grouped(found.take(np.flatnonzero(kept)), by_score=True)
        rank = found_groups.place(len(found))
    truth, truth_groups = _grouped(truth, by_score=False)

    right = np.zeros((len(found), len(AREAS), len(THRESHOLDS)), np.bool_)
    counted = np.repeat(~_outside(found.area)[:, :, None], len(THRESHOLDS), axis=2)
    ignored = _outside(truth.area) | truth.is_crowd[:, None]
    for work in _works(found_groups, truth_groups):
        _match(work, found, truth, ignored, overlap, right, counted)
    return Verdicts(
        image=found.image,
        label=found.label,
        score=found.score,
        rank=rank,
        right=right.reshape(-1, VERDICTS),
        counted=counted.reshape(-1, VERDICTS),
        truth_image=truth.image[truth_groups.first],
        truth_label=truth.label[truth_groups.first],
        expected=np.add.reduceat((~ignored).astype(np.int64), truth_groups.first, axis=0)
        if len(truth)
        else np.zeros((0, len(AREAS)), np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """Runs of objects of one image and class: where each begins, and how many they are."""

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]

    def place(self, objects: int) -> NDArray[np.int64]:
        """Each object's place in its group."""
        return np.arange(objects) - np.repeat(self.first, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """Groups that are matched together: where each begins and its size, in what was found and in the truth."""

    found: NDArray[np.int64]
    found_size: NDArray[np.int64]
    truth: NDArray[np.int64]
    truth_size: NDArray[np.int64]


def _grouped(objects: Objects, *, by_score: bool) -> tuple[Objects, _Groups]:
    keys = (objects.label, objects.image)
    order = np.lexsort((-objects.score, *keys) if by_score else keys)  # stable: equal scores stay as they are listed
    objects = objects.take(order)
    starts = np.ones(len(objects), np.bool_)
    starts[1:] = (objects.image[1:] != objects.image[:-1]) | (objects.label[1:] != objects.label[:-1])
    first = np.flatnonzero(starts)
    size = np.diff(first, append=len(objects))
    return objects, _Groups(image=objects.image[first], label=objects.label[first], first=first, size=size)


def _works(found: _Groups, truth: _Groups) -> Iterator[_Work]:
    """The groups that have objects on both sides, in pieces of like sizes, so that little is padding."""
    labels = 1 + max(found.label.max(initial=0), truth.label.max(initial=0))
    _, in_found, in_truth = np.intersect1d(
        found.image * labels + found.label, truth.image * labels + truth.label, assume_unique=True, return_indices=True
    )
    in_width = np.ceil(np.log2(truth.size[in_truth]))  # truths are padded to at most twice as many
    order = np.lexsort((-found.size[in_found], in_width))
    in_found, in_truth, in_width = in_found[order], in_truth[order], in_width[order]
    at = 0
    while at < len(order):
        width = 1 << int(in_width[at])
        most = max(1, WORKED_AT_ONCE // (width * max(VERDICTS, int(found.size[in_found[at]]))))
        stop = min(at + most, int(np.searchsorted(in_width, in_width[at], side="right")))
        some_found, some_truth = in_found[at:stop], in_truth[at:stop]
        yield _Work(
            found=found.first[some_found],
            found_size=found.size[some_found],
            truth=truth.first[some_truth],
            truth_size=truth.size[some_truth],
        )
        at = stop


def _match(
    work: _Work,
    found: Objects,
    truth: Objects,
    ignored: NDArray[np.bool_],
    overlap: Overlap,
    right: NDArray[np.bool_],
    counted: NDArray[np.bool_],
) -> None:
    """Fills `right` and `counted` (found, areas, thresholds) for some groups, whose sizes in `found` descend."""
    groups, width = len(work.found), int(work.truth_size.max())
    iou = _padded_overlap(work, found, truth, overlap)
    at = np.minimum(work.truth[:, None] + np.arange(width), len(truth) - 1)  # padding points anywhere: it is never free
    is_there = np.arange(width) < work.truth_size[:, None]
    is_ignored = ignored[at].transpose(0, 2, 1)  # (groups, areas, width)
    is_crowd = truth.is_crowd[at]
    free = np.repeat(is_there[:, None], VERDICTS, axis=1).reshape(groups, len(AREAS), len(THRESHOLDS), width)
    for place in range(int(work.found_size[0])):
        active = int(np.count_nonzero(work.found_size > place))
        overlaps = iou[:active, place]
        best = overlaps.argsort(axis=1, kind="stable").argsort(axis=1)  # of equal ones the last has the highest rank
        preference = best[:, None] + width * ~is_ignored[:active]
        candidates = free[:active] & (overlaps[:, None, :] >= THRESHOLDS[:, None])[:, None]
        preferred = np.where(candidates, preference[:, :, None], -1)
        chosen = preferred.argmax(axis=3)[..., None]
        matched = np.take_along_axis(preferred, chosen, axis=3)[..., 0] >= 0
        to_ignore = np.take_along_axis(is_ignored[:active], chosen[..., 0], axis=2)
        stays_free = np.take_along_axis(is_crowd[:active], chosen.reshape(active, -1), axis=1).reshape(matched.shape)
        left = np.take_along_axis(free[:active], chosen, axis=3)[..., 0] & (stays_free | ~matched)
        np.put_along_axis(free[:active], chosen, left[..., None], axis=3)
        rows = work.found[:active] + place
        right[rows] = matched & ~to_ignore
        counted[rows] = np.where(matched, ~to_ignore, counted[rows])


def _padded_overlap(work: _Work, found: Objects, truth: Objects, overlap: Overlap) -> NDArray[np.float64]:
    """(groups, most found, most true): the overlap of every pair within a group, else -1."""
    pairs = work.found_size * work.truth_size
    group = np.repeat(np.arange(len(pairs)), pairs)
    inside = np.arange(len(group)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    which_found, which_truth = np.divmod(inside, work.truth_size[group])
    padded = np.full((len(pairs), int(work.found_size.max()), int(work.truth_size.max())), -1.0)
    padded[group, which_found, which_truth] = overlap(
        found.take(work.found[group] + which_found), truth.take(work.truth[group] + which_truth)
    )
    return padded


def _outside(area: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n, areas): whether an object is smaller or larger than each range."""
    return (area[:, None] < _RANGES[:, 0]) | (area[:, None] > _RANGES[:, 1])


def box_overlap(found: Objects, truth: Objects) -> NDArray[np.float64]:
    """IoU of boxes; with a crowd, the share of what was found that lies in it. Empty boxes overlap with nothing."""
    low = np.maximum(found.edges[:, :2], truth.edges[:, :2])
    high = np.minimum(found.edges[:, 2:], truth.edges[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    return overlap_of(both, box_area(found.edges), box_area(truth.edges), truth.is_crowd)


def box_area(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) to (n,), in square pixels."""
    area: NDArray[np.float64] = (edges[:, 2:] - edges[:, :2]).prod(axis=1)
    return area


def overlap_of(
    both: NDArray[np.float64], found: NDArray[np.float64], truth: NDArray[np.float64], is_crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """IoU of pairs from the areas that they share, those of what was found and of the true ones, all (n,)."""
    whole = np.where(is_crowd, found, found + truth - both)
    overlap: NDArray[np.float64] = np.divide(both, whole, out=np.zeros(len(both)), where=both > 0)
    return overlap
