"""One image for training: from encoded bytes and what is known of it to the model's pixels and their target's shape.

Without augmentation the pixels are bit for bit those of a predict job: the same code decodes, resizes and crops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vision_batch.errors import ImageError
from vision_batch.images.augment import Augmentation, random_for
from vision_batch.images.augmentations.geometric import crop_region
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.frame import Boxes, Frame
from vision_batch.images.geometry import Geometry
from vision_batch.images.header import Encoded
from vision_batch.images.mask import Mask, place_mask
from vision_batch.images.preprocess import Preprocessed, Preprocessor
from vision_batch.images.region import Region
from vision_batch.images.settings import PreprocessSettings

Pixels: TypeAlias = npt.NDArray[np.uint8]
MIN_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What is known of places in an image, in pixels of the full image as shown.

    `mask` is uint8 or uint16 (H, W) of class indices; `boxes` float32 (K, 4): x_min, y_min, x_max, y_max of edges;
    `box_labels` int64 (K,).
    """

    mask: Mask | None = None
    boxes: npt.NDArray[np.float32] | None = None
    box_labels: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """`pixels` is uint8 (h, w, 3) RGB, C-contiguous; mask and boxes lie where its pixels do.

    `mask` (h, w) has the annotation's dtype and is IGNORE (255 or 65535) where no pixel of the image is. Boxes are
    clipped, and absent where too little is left. `width` and `height` are of the full image.
    """

    pixels: Pixels
    mask: Mask | None
    boxes: npt.NDArray[np.float32] | None
    box_labels: npt.NDArray[np.int64] | None
    width: int
    height: int


class ExampleMaker:
    """Makes examples. Any number of threads may call one; each should have called `resize.limit_threads` first."""

    def __init__(
        self,
        preprocess: PreprocessSettings,
        augment: Sequence[AugmentSettings],
        *,
        max_pixels: int,
        function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None,
        seed: int,
        large_at_once: int | None = None,
        min_box_share: float = MIN_SHARE,
    ) -> None:
        """`function` and `large_at_once` are as for Preprocessor. A box of which less is left is dropped."""
        self._preprocessor = Preprocessor(
            preprocess, max_pixels=max_pixels, function=function, large_at_once=large_at_once
        )
        self._crop = augment[0].random_resized_crop if augment else None
        self._augmentation = Augmentation(augment[1:] if self._crop else augment, min_share=min_box_share)
        self._seed = seed
        self._min_share = min_box_share

    def __call__(
        self, data: Encoded, annotation: Annotation | None = None, *, identity: int, epoch: int | None
    ) -> Example:
        """The example of the image `identity` in `epoch`, the same whenever it is made; None: as a predict job sees it.

        A random_resized_crop that comes first is cut from the full image, in place of the resize and crop of
        `preprocess`. ImageError, and nothing else, for an image or an annotation that cannot be used; MemoryError
        passes.
        """
        random = None if epoch is None else random_for(self._seed, identity, epoch)
        choose = None if random is None else self._region(random)
        prepared = self._preprocessor(data, choose=choose)
        frame = self._frame(prepared, annotation)
        if random is not None:
            frame = self._augmentation(frame, random)
        boxes = frame.boxes
        return Example(
            pixels=frame.pixels,
            mask=frame.mask,
            boxes=None if boxes is None else boxes.corners,
            box_labels=None if boxes is None else boxes.labels,
            width=prepared.width,
            height=prepared.height,
        )

    def _region(self, random: np.random.Generator) -> Callable[[int, int], Region] | None:
        crop = self._crop
        if crop is None or random.random() >= crop.p:
            return None
        return lambda width, height: crop_region(crop, random, width, height)

    def _frame(self, prepared: Preprocessed, annotation: Annotation | None) -> Frame:
        if annotation is None:
            return Frame(pixels=prepared.pixels)
        self._demand_places(prepared, annotation)
        height, width = prepared.pixels.shape[:2]
        mask = annotation.mask
        if mask is not None:
            mask = place_mask(mask, prepared.geometry, width, height)
        boxes = _placed_boxes(annotation, prepared.geometry)
        if boxes is not None:
            boxes = boxes.within(width, height, min_share=self._min_share)
        return Frame(pixels=prepared.pixels, mask=mask, boxes=boxes)

    def _demand_places(self, prepared: Preprocessed, annotation: Annotation) -> None:
        """ImageError `invalid_label` for a mask of another size, and where a plug-in gave a picture of another size."""
        size = prepared.width, prepared.height
        reason = None
        if annotation.mask is not None and annotation.mask.shape[::-1] != size:
            found = f"{annotation.mask.shape[1]} x {annotation.mask.shape[0]}"
            reason = f"a mask of {found} pixels for an image of {size[0]} x {size[1]}"
        elif prepared.reshaped and (annotation.mask is not None or annotation.boxes is not None):
            reason = "preprocess.function gave a picture of another size, so that its mask and boxes lie elsewhere"
        if reason is not None:
            raise ImageError("invalid_label", reason, width=size[0], height=size[1])


def _placed_boxes(annotation: Annotation, geometry: Geometry) -> Boxes | None:
    """The boxes in the model's pixels; ones that turn out to be empty or no numbers go with the first clipping."""
    if annotation.boxes is None:
        return None
    corners = np.asarray(annotation.boxes, np.float64).reshape(-1, 4)
    labels = annotation.box_labels
    if labels is None:
        labels = np.zeros(len(corners), np.int64)
    offset = np.array([geometry.offset_x, geometry.offset_y] * 2)
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2)
    placed = ((corners - offset) / scale).astype(np.float32)
    return Boxes(corners=placed, labels=labels, shares=np.ones(len(placed), np.float32))
