"""How good masks of classes are, pixel by pixel.

Sources: intersection over union of a class, as in Everingham et al., The PASCAL VOC challenge, 2015; Dice, 1945.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import ImageError, Problem, SpecError
from vision_batch.evaluation.measure import ConfusionCell, Curve, Value
from vision_batch.tasks.segmentation import decode_truth

if TYPE_CHECKING:
    from vision_batch.images.mask import Mask

NO_CLASS: Final = -1
"""What a pixel without a class is predicted as: the image failed, or the model did not see it."""
BYTE: Final = 256
_PAIRS: Final = 1 << 17
"""More than there are class indices and NO_CLASS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFacts:
    """Of n images: how many pixels of class `truth` (m,) are predicted as class `predicted` (m,), for all that occur.

    Rows are in the order of `image` (m,). `is_refused` (n,) are images that cannot be measured, which have none here.
    """

    image: NDArray[np.int64]
    truth: NDArray[np.int32]
    predicted: NDArray[np.int32]
    pixels: NDArray[np.int64]
    is_refused: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.is_refused)

    def take(self, indices: NDArray[np.int64]) -> MaskFacts:
        first = np.searchsorted(self.image, np.arange(len(self) + 1))
        size = np.diff(first)[indices]
        rows = np.repeat(first[:-1][indices] - (size.cumsum() - size), size) + np.arange(size.sum())
        return MaskFacts(
            image=np.repeat(np.arange(len(indices)), size),
            truth=self.truth[rows],
            predicted=self.predicted[rows],
            pixels=self.pixels[rows],
            is_refused=self.is_refused[indices],
        )

    @classmethod
    def merged(cls, several: Sequence[MaskFacts]) -> MaskFacts:
        before = np.cumsum([0, *map(len, several)])
        return cls(
            image=np.concatenate([each.image + first for each, first in zip(several, before, strict=False)]),
            truth=np.concatenate([each.truth for each in several]),
            predicted=np.concatenate([each.predicted for each in several]),
            pixels=np.concatenate([each.pixels for each in several]),
            is_refused=np.concatenate([each.is_refused for each in several]),
        )


class SegmentationMeasure:
    """Of the column `mask_png`. Pixels that the truth marks as IGNORE count nowhere."""

    prediction_columns = ("image_id", "mask_png")
    optional_columns = ("class_pixels",)
    truth_column = "mask_png"

    def __init__(self, labels: tuple[str, ...] | None = None) -> None:
        self._names = dict(enumerate(labels or ()))
        self._reasons: list[str] = []
        self._pairs = _OccurringPairs()

    def facts(self, rows: pa.Table) -> MaskFacts:
        kind = rows.schema.field("truth").type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_struct(kind)):
            raise SpecError(Problem("truth", f"a column of {kind}", "the bytes of masks as PNG"))
        if "class_pixels" in rows.column_names:
            self._learn_names(rows.column("class_pixels"))
        ids, masks, truths = (rows.column(name).to_pylist() for name in ("image_id", "mask_png", "truth"))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pairs = list(pool.map(pixel_pairs, masks, truths))
        for name, found in zip(ids, pairs, strict=True):
            if isinstance(found, str) and not self._reasons:
                self._reasons.append(f"{name}: {found}")
        known = [(number, pair) for number, pair in enumerate(pairs) if not isinstance(pair, str)]
        sizes = [len(pair[0]) for _, pair in known]
        none = np.empty(0, np.int64)
        return MaskFacts(
            image=np.repeat(np.array([number for number, _ in known], np.int64), sizes),
            truth=np.concatenate([none, *(pair[0] for _, pair in known)]).astype(np.int32),
            predicted=np.concatenate([none, *(pair[1] for _, pair in known)]).astype(np.int32),
            pixels=np.concatenate([none, *(pair[2] for _, pair in known)]),
            is_refused=np.array([isinstance(pair, str) for pair in pairs], np.bool_),
        )

    def tally(self, *, is_resample: bool = False, share: int = 1) -> SegmentationTally:
        return SegmentationTally(names=self._names, reasons=self._reasons, pairs=self._pairs)

    def _learn_names(self, column: pa.ChunkedArray) -> None:
        flat = column.combine_chunks().flatten()
        known = pa.table([flat.field("label_index"), flat.field("label")], ["index", "label"])
        for pair in known.group_by(["index", "label"]).aggregate([]).to_pylist():
            if pair["label"] is not None and pair["index"] is not None:
                self._names.setdefault(pair["index"], pair["label"])


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def pixel_pairs(mask: bytes | None, truth: Any) -> Pairs | str:
    """True class, predicted class and pixels (m,) of all that occur in an image; or why it cannot be measured."""
    try:
        expected = decode_truth(truth)
        found = None if mask is None else decode_truth(mask)
    except ImageError as error:
        return error.message
    if found is not None and found.shape != expected.shape:
        sizes = (f"{shape[1]} x {shape[0]}" for shape in (found.shape, expected.shape))
        return "one mask has {} pixels, the other {}".format(*sizes)
    return _counted(expected, found)


def _counted(truth: Mask, found: Mask | None) -> Pairs:
    from vision_batch.images.mask import ignore_of  # and OpenCV, which a command that measures no masks goes without

    if found is None:
        classes, pixels = np.unique(truth, return_counts=True)
        known = classes != ignore_of(truth)
        return classes[known].astype(np.int64), np.full(known.sum(), NO_CLASS, np.int64), pixels[known]
    if truth.dtype == np.uint8 and found.dtype == np.uint8:
        counts = np.bincount((truth.ravel() * np.uint16(BYTE) + found.ravel()), minlength=BYTE * BYTE)
        truths, predicted = np.divmod(np.flatnonzero(counts), BYTE)
        pixels = counts[counts > 0]
    else:
        pairs, pixels = np.unique(truth.ravel() * np.int64(_PAIRS) + found.ravel(), return_counts=True)
        truths, predicted = np.divmod(pairs, _PAIRS)
    known = truths != ignore_of(truth)
    seen = np.where(predicted == ignore_of(found), NO_CLASS, predicted)
    return truths[known], seen[known], pixels[known]


@dataclass(slots=True)
class _OccurringPairs:
    """The pairs of classes in the facts that were last asked for: looked for once for all resamples of them."""

    _facts: MaskFacts | None = None
    _pair: NDArray[np.int64] = field(init=False)
    _place: NDArray[np.int64] = field(init=False)

    def of(self, facts: MaskFacts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The different pairs, ascending, as one number each; and which of them each row (m,) is."""
        if self._facts is not facts:
            pair = facts.truth * np.int64(_PAIRS) + facts.predicted - NO_CLASS
            self._pair, self._place = np.unique(pair, return_inverse=True)
            self._facts = facts
        return self._pair, self._place


@dataclass(slots=True, kw_only=True)
class SegmentationTally:
    """The confusion of classes, in pixels, up to 2 ** 53 of them: only what occurs is held.

    `names`, `reasons` and `pairs` are the measure's.
    """

    names: dict[int, str]
    reasons: Sequence[str]
    pairs: _OccurringPairs
    _pair: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _pixels: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _refused: int = 0

    def add(self, facts: MaskFacts, weights: NDArray[np.int64] | None = None) -> None:
        pixels = facts.pixels if weights is None else facts.pixels * weights[facts.image]
        pair, place = self.pairs.of(facts)
        pixels = np.concatenate([self._pixels, np.bincount(place, pixels, len(pair)).astype(np.int64)])
        self._pair, place = np.unique(np.concatenate([self._pair, pair]), return_inverse=True)
        self._pixels = np.bincount(place, pixels, len(self._pair)).astype(np.int64)
        self._refused += int(np.dot(facts.is_refused, np.ones(len(facts), np.int64) if weights is None else weights))

    def values(self) -> list[Value]:
        classes, right, truth, predicted = self._sums()
        iou = _shares(right, truth + predicted - right)
        dice = _shares(2 * right, truth + predicted)
        accuracy = _shares(right, truth)
        total = int(truth.sum())
        whole = [
            Value(metric="mean_iou", value=_mean(iou), support=total),
            Value(metric="mean_dice", value=_mean(dice), support=total),
            Value(metric="pixel_accuracy", value=int(right.sum()) / total if total else None, support=total),
            Value(metric="mean_class_accuracy", value=_mean(accuracy), support=total),
        ]
        return whole + [
            Value(
                metric=metric, value=None if np.isnan(of[row]) else float(of[row]), support=int(truth[row]), label=name
            )
            for row, name in enumerate(map(self._name, classes))
            for metric, of in (("iou", iou), ("dice", dice), ("accuracy", accuracy))
        ]

    def confusion(self) -> list[ConfusionCell]:
        """In pixels."""
        truth, predicted = self._parted()
        order = np.argsort(-self._pixels, kind="stable")
        return [
            ConfusionCell(truth=self._name(truth[at]), predicted=self._name(predicted[at]), count=int(self._pixels[at]))
            for at in order.tolist()
            if self._pixels[at]
        ]

    def curves(self) -> list[Curve]:
        """None: a mask has no scores."""
        return []

    def notes(self) -> list[str]:
        if not self._refused:
            return []
        return [f"{self._refused:,} images are not measured, like {self.reasons[0]}"]

    def _parted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        truth, predicted = np.divmod(self._pair, _PAIRS)
        return truth, predicted + NO_CLASS

    def _sums(self) -> tuple[list[int], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The classes that occur, and of each (classes,) the pixels that are right, are truly its, are taken for it."""
        truth, predicted = self._parted()
        occurs = self._pixels > 0
        classes = np.union1d(truth[occurs], predicted[occurs])
        classes = classes[classes != NO_CLASS]
        sums = np.zeros((3, len(classes)), np.int64)
        for row, (of, some) in enumerate(
            [(truth, truth == predicted), (truth, occurs), (predicted, predicted != NO_CLASS)]
        ):
            some = some & occurs
            np.add.at(sums[row], np.searchsorted(classes, of[some]), self._pixels[some])
        return classes.tolist(), *sums

    def _name(self, index: int) -> str | None:
        return None if index == NO_CLASS else self.names.get(int(index), str(index))


def _shares(some: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """nan of nothing."""
    shares: NDArray[np.float64] = np.divide(some, whole, out=np.full(len(some), np.nan), where=whole > 0)
    return shares


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
