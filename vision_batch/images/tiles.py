"""A large picture in overlapping tiles, and how much each counts where several have the same pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """Along one axis: tile i begins at `starts[i]`, and its pixels count by `weights[i]`, float32 (tile_px,).

    For each pixel of the picture the weights of the tiles that have it sum to 1; beyond its end they are 0.
    """

    starts: tuple[int, ...]
    weights: npt.NDArray[np.float32]


def tiles_along(size: int, tile_px: int, overlap: float) -> Tiles:
    """The fewest tiles that cover `size` pixels and share `overlap` of a tile, or more, with their neighbours.

    They lie at equal distances, the first and the last at the ends. Weights fall off linearly over the shared part:
    at its edges a tile's model has seen least of what is around a pixel.
    """
    stride = max(1, int(tile_px * (1 - overlap)))
    count = 1 + max(0, -(-(size - tile_px) // stride))
    starts = np.linspace(0, max(0, size - tile_px), count).round().astype(int)
    places = np.arange(tile_px) + 0.5
    ramp = np.minimum(1, np.minimum(places, tile_px - places) / max(1.0, tile_px * overlap))
    total = np.zeros(max(size, tile_px))
    for start in starts:
        total[start : start + tile_px] += ramp
    weights = np.stack([ramp / total[start : start + tile_px] for start in starts])
    weights[:, size:] = 0  # only of a picture that is smaller than its one tile
    return Tiles(starts=tuple(starts.tolist()), weights=weights.astype(np.float32))


def cut_tile(pixels: npt.NDArray[np.uint8], top: int, left: int, tile_px: int) -> npt.NDArray[np.uint8]:
    """uint8 (tile_px, tile_px, 3) of `pixels` (H, W, 3); beyond the picture's end its last row and column go on."""
    tile = pixels[top : top + tile_px, left : left + tile_px]
    below, beside = tile_px - tile.shape[0], tile_px - tile.shape[1]
    if below or beside:
        tile = np.asarray(cv2.copyMakeBorder(tile, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.uint8)
    return tile
