"""The objects of many images as columns: those that a model found, and those that are truly there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """n objects in any number of images. Columns have one entry an object, in the order of images.

    `image` (n,) is the image's number within a batch, `label` (n,) the class's in a vocabulary. `edges` (n, 4) are
    x_min, y_min, x_max, y_max in pixels of the full image, `area` (n,) is in square pixels, of the mask where there is
    one. `score` (n,) is 0 and means nothing for truth; `is_crowd` (n,) is False for what was found. `mask` (n,) is the
    number of the object's mask, where masks are matched.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    edges: NDArray[np.float64]
    area: NDArray[np.float64]
    score: NDArray[np.float32]
    is_crowd: NDArray[np.bool_]
    mask: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)

    def take(self, indices: NDArray[np.int64]) -> Objects:
        """Those objects, in that order."""
        return Objects(
            image=self.image[indices],
            label=self.label[indices],
            edges=self.edges[indices],
            area=self.area[indices],
            score=self.score[indices],
            is_crowd=self.is_crowd[indices],
            mask=self.mask[indices],
        )
