"""One class per pixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import ImageError, Problem, SpecError
from vision_batch.tasks.logits import NO_NUMBERS, NOT_COMPARABLE, check_logits, comparable, finite
from vision_batch.tasks.task import IGNORE, Agreement, Target, View

if TYPE_CHECKING:
    import torch

    from vision_batch.images.example import Example
    from vision_batch.images.mask import Mask

BYTE_CLASSES: Final = 256
"""How many class indices a byte holds; masks of more classes have 16 bits."""
STRIP_PIXELS: Final = 1 << 20
"""Of the full image at once: 4 MB for the scores of a class, which a core's caches still help with."""
MASK_PIXELS: Final = 1 << 28
"""Of the masks that are made at the same time."""
SAME_PIXELS: Final = 0.99
"""The share of pixels that must keep their class in a lower precision: those that change lie between two classes."""
CLASS_PIXELS: Final = pa.list_(pa.struct([("label", pa.string()), ("label_index", pa.int32()), ("pixels", pa.int64())]))

MaskRow: TypeAlias = tuple[bytes, list[dict[str, Any]]]
"""An image's values in both columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """The best of C classes for each pixel of the full image.

    The model's logits are interpolated (bilinear) to its own input and from there to the full image, and the largest
    wins. Where preprocessing cut the image the model saw nothing: `mask_png` is IGNORE there (65535 in a mask of 16
    bits), and `class_pixels` leaves those pixels out.

    With `tile_px` the model sees the image at full size, in squares of that side, of which neighbours share
    `tile_overlap` of the side or more: see TileBlend.
    """

    labels: tuple[str, ...] | None
    tile_px: int | None = None
    tile_overlap: float = 0.25

    lies_on_image: ClassVar[bool] = True
    unusable: ClassVar[str] = NO_NUMBERS
    headline: ClassVar[str] = "mean_iou"
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy", "focal", "dice", "bce", "mse", "huber")
    default_loss: ClassVar[str] = "cross_entropy"

    def fields(self) -> list[pa.Field]:
        return [pa.field("mask_png", pa.binary()), pa.field("class_pixels", CLASS_PIXELS)]

    def check(self, outputs: Any, count: int | None = None) -> None:
        check_logits(outputs, count, self.labels, axes="(N, C, h, w)", what="segmentation")

    def finite(self, outputs: np.ndarray) -> np.ndarray:
        return finite(outputs)

    def agreement(self, exact: np.ndarray, lowered: np.ndarray) -> Agreement:
        """Close where nearly every pixel keeps its class."""
        usable = comparable(exact, lowered)
        if usable is None:
            return NOT_COMPARABLE
        same = float((exact[usable].argmax(axis=1) == lowered[usable].argmax(axis=1)).mean())
        return Agreement(is_close=same >= SAME_PIXELS, text=f"{100 * same:.2f} % of the pixels have the class of fp32")

    def columns(self, outputs: np.ndarray, views: Sequence[View], model_px: tuple[int, int]) -> list[pa.Array]:
        """In as many threads as torch has for an operator, unless masks are large: then fewer are held at once."""
        import torch

        def row(logits: NDArray[np.float32], view: View) -> MaskRow:
            return self._row(*full_mask(logits, view, model_px))

        largest = max((view.width * view.height for view in views), default=1)
        with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), MASK_PIXELS // largest))) as pool:
            return _mask_arrays(list(pool.map(row, outputs, views)))

    def mask_columns(self, masks: Sequence[NDArray[Any]]) -> list[pa.Array]:
        """The columns of images whose `masks` (H, W) are made already: a class index for each of their pixels."""
        return _mask_arrays([self._row(mask, _counted(mask)) for mask in masks])

    def _row(self, mask: NDArray[Any], pixels: NDArray[np.int64]) -> MaskRow:
        """A mask's PNG, and the classes that it has; `pixels` are those of each class, from the first on."""
        present = [
            {"label": self.labels[index] if self.labels else str(index), "label_index": index, "pixels": pixels[index]}
            for index in np.flatnonzero(pixels)
        ]
        return _png(mask), present

    def names(self, truth: Any) -> tuple[str, ...]:
        """None: a mask has indices."""
        return ()

    def target(self, truth: Any) -> Target:
        """`truth` is the bytes of a PNG of class indices; IGNORE (65535 of 16 bits) is no class."""
        from vision_batch.images.example import Annotation
        from vision_batch.images.mask import ignore_of

        mask = decode_truth(truth)
        classes = len(self.labels or ())
        is_class = mask != ignore_of(mask)
        strange = mask[is_class & (mask >= classes)]
        if strange.size:
            raise ImageError(
                "invalid_label",
                f"the mask has the value {strange[0]}; model.labels has {classes} names, {ignore_of(mask)} is none",
            )
        if mask.dtype != np.uint8:
            mask = np.where(is_class, mask, IGNORE).astype(np.uint8)
        return Target(annotation=Annotation(mask=mask))

    def collate(self, targets: Sequence[Target], examples: Sequence[Example]) -> NDArray[np.uint8]:
        masks = [example.mask for example in examples if example.mask is not None]
        return np.stack(masks) if masks else np.empty((0, 1, 1), np.uint8)

    def metrics(self) -> SegmentationMetrics:
        """SpecError where a target's byte cannot hold the classes and IGNORE."""
        classes = len(self.labels or ())
        if not 0 < classes < BYTE_CLASSES:
            expected = f"from 1 to {IGNORE} names: a target mask has {IGNORE} where nothing is to be learned"
            raise SpecError(Problem("model.labels", f"{classes} names", expected))
        return SegmentationMetrics(classes=classes)


class SegmentationMetrics:
    """`mean_iou`, over the classes that occur in truths or predictions, and `pixel_accuracy`.

    A state is the confusion matrix, true class by predicted, of the pixels that are not IGNORE.
    """

    def __init__(self, *, classes: int) -> None:
        self._classes = classes
        self._confusion = np.zeros(classes * classes)

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Image by image: scores as large as the targets are there for one only."""
        from torch.nn.functional import interpolate

        for logits, target in zip(outputs, targets, strict=True):
            scores = interpolate(logits[None].float(), size=target.shape, mode="bilinear", align_corners=False)
            judged = target != IGNORE
            pairs = target[judged].long() * self._classes + scores[0].argmax(dim=0)[judged]
            self._confusion += pairs.bincount(minlength=len(self._confusion)).cpu().numpy()

    def state(self) -> NDArray[np.float64]:
        return self._confusion.copy()

    def result(self, state: NDArray[np.float64]) -> dict[str, float]:
        confusion = state.reshape(self._classes, self._classes)
        right, total = confusion.diagonal(), confusion.sum()
        if not total:
            return {}
        union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
        occurs = union > 0
        return {
            "mean_iou": float((right[occurs] / union[occurs]).mean()),
            "pixel_accuracy": float(right.sum() / total),
        }


def full_mask(
    logits: NDArray[np.float32], view: View, model_px: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The class of each pixel of the full image (H, W) from `logits` (C, h, w), and the pixels of each class (C,).

    The mask is uint8, or uint16 above 256 classes.
    """
    classes = len(logits)
    dtype: type[np.uint8] | type[np.uint16] = np.uint8 if classes <= BYTE_CLASSES else np.uint16
    mask = np.full((view.height, view.width), np.iinfo(dtype).max, dtype)
    pixels = np.zeros(classes, np.int64)
    scores = _at_input(logits, model_px)
    geometry = view.geometry
    left, right = _seen(view.width, model_px[1], geometry.scale_x, geometry.offset_x)
    top, bottom = _seen(view.height, model_px[0], geometry.scale_y, geometry.offset_y)
    for first, last in _strips(top, bottom, right - left):
        best = _best(scores, view, left, first, right - left, last - first, dtype)
        mask[first:last, left:right] = best
        pixels += np.bincount(best.ravel(), minlength=classes)
    return mask, pixels


def _at_input(logits: NDArray[np.float32], model_px: tuple[int, int]) -> NDArray[np.float32]:
    """(C, h, w) to (C, height, width) of the model's input, as torch's bilinear interpolation does."""
    if logits.shape[1:] == tuple(model_px):
        return logits
    import cv2

    size = model_px[1], model_px[0]
    return np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in logits])


def _seen(full: int, model: int, scale: float, offset: float) -> tuple[int, int]:
    """Along one axis the pixels [first, last) of `full` whose centres lie in the `model` pixels of the input."""
    first, last = np.clip(np.ceil(np.array([offset, offset + model * scale]) - 0.5), 0, full)
    return int(first), int(last)


def _strips(top: int, bottom: int, width: int) -> Iterator[tuple[int, int]]:
    """Rows [first, last) of at most STRIP_PIXELS, but one row at least."""
    rows = max(1, STRIP_PIXELS // max(1, width))
    return ((first, min(first + rows, bottom)) for first in range(top, bottom, rows) if width > 0)


def _best(
    scores: NDArray[np.float32], view: View, left: int, top: int, width: int, height: int, dtype: type[np.generic]
) -> NDArray[Any]:
    """The best class of each pixel of a window of the full image; of equal ones the lower index."""
    import cv2

    geometry = view.geometry
    matrix = np.array(  # centres of the window's pixels to indices of the model's pixels
        [
            [1 / geometry.scale_x, 0, (left + 0.5 - geometry.offset_x) / geometry.scale_x - 0.5],
            [0, 1 / geometry.scale_y, (top + 0.5 - geometry.offset_y) / geometry.scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    index = np.zeros((height, width), dtype)
    highest: NDArray[Any] | None = None
    for number, plane in enumerate(scores):
        score = cv2.warpAffine(plane, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        if highest is None:
            highest = score
        else:
            np.copyto(index, number, where=score > highest, casting="unsafe")
            np.maximum(highest, score, out=highest)
    return index


def _counted(mask: NDArray[Any]) -> NDArray[np.int64]:
    """The pixels of each class, in strips: numpy counts wide integers only."""
    height, width = mask.shape
    classes = int(mask.max()) + 1
    strips = (mask[first:last].ravel() for first, last in _strips(0, height, width))
    pixels = np.zeros(classes, np.int64)
    for strip in strips:
        pixels += np.bincount(strip, minlength=classes)
    return pixels


def _mask_arrays(rows: Sequence[MaskRow]) -> list[pa.Array]:
    return [pa.array([mask for mask, _ in rows], pa.binary()), pa.array([each for _, each in rows], CLASS_PIXELS)]


def _png(mask: NDArray[Any]) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", mask)[1])


def decode_truth(truth: Any) -> Mask:
    """The mask of a label: the bytes of a PNG, alone or in Hugging Face's struct<bytes, path>; else ImageError."""
    from vision_batch.images.mask import decode_mask

    data = truth.get("bytes") if isinstance(truth, Mapping) else truth
    if not isinstance(data, bytes | memoryview):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise ImageError("invalid_label", f"the label is {found}; expected the bytes of a mask as PNG")
    return decode_mask(data)
