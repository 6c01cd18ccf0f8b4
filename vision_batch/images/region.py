"""A part of a picture that becomes the whole input of the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vision_batch.images.geometry import Geometry
from vision_batch.images.header import Header
from vision_batch.images.resize import resize
from vision_batch.images.settings import Interpolation

Pixels: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """`width` x `height` pixels of a picture whose first column and row are `left` and `top`."""

    left: int
    top: int
    width: int
    height: int

    def geometry(self, out_width: int, out_height: int) -> Geometry:
        """From the region, resized to `out_width` x `out_height`, back to the picture."""
        scale_x, scale_y = self.width / out_width, self.height / out_height
        return Geometry(scale_x=scale_x, scale_y=scale_y, offset_x=float(self.left), offset_y=float(self.top))

    def stored(self, header: Header) -> Region:
        """The same region, of the picture as shown, in the picture as it is stored."""
        region = self._mirrored(header)
        return region._transposed() if header.transposed else region

    def shown(self, header: Header) -> Region:
        """The same region, of the picture as it is stored, in the picture as shown."""
        return (self._transposed() if header.transposed else self)._mirrored(header)

    def aligned(self, factor: int) -> Region:
        """The region of this size, moved to a corner that a decoder's scaling by `factor` keeps."""
        return replace(self, left=self.left - self.left % factor, top=self.top - self.top % factor)

    def _mirrored(self, header: Header) -> Region:
        """As orientation.orient mirrors the picture, which it does after transposing."""
        width, height = header.shown_size
        left = width - self.left - self.width if header.orientation in (2, 3, 6, 7) else self.left
        top = height - self.top - self.height if header.orientation in (3, 4, 7, 8) else self.top
        return replace(self, left=left, top=top)

    def _transposed(self) -> Region:
        return Region(left=self.top, top=self.left, width=self.height, height=self.width)


def resized_region(
    pixels: Pixels, region: Region, width: int, height: int, *, interpolation: Interpolation, factor: int = 1
) -> Pixels:
    """`region`, aligned to `factor`, of a picture of which `pixels` is 1/factor, antialiased: uint8 (height, width, 3).

    What lies around the region has no influence on it.
    """
    left, top = region.left // factor, region.top // factor
    right, bottom = left - (-region.width // factor), top - (-region.height // factor)
    span = (region.width / factor, region.height / factor) if factor > 1 else None
    return resize(pixels[top:bottom, left:right], width, height, interpolation=interpolation, span=span)
