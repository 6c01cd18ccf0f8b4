"""What an operation does to one image, once its random numbers are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vision_batch.images.augmentations.bounds import Bounds

Pixels: TypeAlias = npt.NDArray[np.uint8]
Matrix: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """Moves everything: `matrix` (3, 3) leads from a point to where it goes, in homogeneous coordinates of edges.

    `fill` is what is seen where nothing goes, None if there is no such place.
    """

    matrix: Matrix
    fill: int | Literal["reflect"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Bend:
    """Moves everything: pixel (y, x) comes from (y + shift_y, x + shift_x); both float32 (H, W), in pixels."""

    shift_x: npt.NDArray[np.float32]
    shift_y: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Paint:
    """Changes colours and moves nothing: uint8 (H, W, 3) in and out, the input left as it is."""

    function: Callable[[Pixels], Pixels]


Step: TypeAlias = Warp | Bend | Paint
Draw: TypeAlias = Callable[[Any, np.random.Generator, int, int], Iterable[Step]]
"""An operation: its settings, random numbers, and the picture's width and height in pixels, to steps."""


def between(random: np.random.Generator, bounds: Bounds) -> float:
    """A number from within the bounds; exactly the bound where both are the same."""
    low, high = bounds
    return low + (high - low) * random.random()


def count_between(random: np.random.Generator, bounds: tuple[int, int]) -> int:
    """A whole number from within the bounds, both included."""
    return int(random.integers(bounds[0], bounds[1], endpoint=True))
