"""A segmentation model that is given a large picture tile by tile. Importing this imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from vision_batch.images.tiles import Tiles
from vision_batch.models.transfer import as_float, mapped

SCORE_BYTES: Final = 1 << 28
"""Of a picture's scores at once, unless one column of tiles has more: as many stripes of it are done one by one."""


class Spot(NamedTuple):
    """Where a tile lies: `row` and `column` count tiles."""

    row: int
    column: int


class TileBlend(torch.nn.Module):
    """Called with tiles (N, 3, tile_px, tile_px), it adds up what `module` says of them, on the device.

    Scores are the softmax of the logits (C, h, w), interpolated (bilinear) to the tile, and where tiles overlap the
    mean of theirs by weight. One stripe of a picture is in work: `begin` it, call for all its `spots` in their order,
    as many at once as one likes, then take its `mask`.

    Only the rows that later tiles reach have scores: (C, tile_px, width), whatever the picture's height.
    """

    def __init__(self, module: torch.nn.Module, tile_px: int, check: Callable[[Any], None]) -> None:
        """`check` is given what `module` says of the first tile, as the predictor would return it."""
        super().__init__()
        self.module = module
        self.tile_px = tile_px
        self.classes: int | None = None
        """As many as `module` tells apart: it is known from the first tile on."""
        self._check = check

    def begin(self, stripe: Stripe) -> None:
        """Forgets the last stripe."""
        self._stripe = stripe
        self._left = iter(stripe.spots)
        self._row = 0
        self._scores: torch.Tensor | None = None
        self._finite: torch.Tensor | None = None
        self._rows: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Bool (1,): whether all that was said of the stripe so far is finite."""
        outputs = self.module(images)
        if self.classes is None:
            self._check(mapped(outputs, lambda tensor: as_float(tensor).cpu().numpy()))
            self.classes = outputs.shape[1]
        logits = outputs.float().contiguous()  # of channels_last ones the softmax takes three times as long on a CPU
        scores = interpolate(logits, size=(self.tile_px, self.tile_px), mode="bilinear", align_corners=False).softmax(1)
        if self._scores is None:
            self._scores = scores.new_zeros(scores.shape[1], self.tile_px, self._stripe.width)
            self._finite = torch.ones(1, dtype=torch.bool, device=scores.device)
        for tile, spot in zip(scores, self._left, strict=False):
            if spot.row > self._row:
                self._finish_rows(spot.row)
            self._add(tile, spot)
        assert self._finite is not None
        self._finite &= logits.isfinite().all()
        return self._finite

    def mask(self) -> NDArray[Any]:
        """The class of each pixel of the stripe, uint8, or uint16 above 256 classes; of equal scores the lower one."""
        self._finish_rows(len(self._stripe.down.starts))
        mask: NDArray[Any] = torch.cat(self._rows).cpu().numpy()
        return mask if mask.dtype == np.uint8 else mask.astype(np.uint16)

    def _add(self, tile: torch.Tensor, spot: Spot) -> None:
        assert self._scores is not None
        stripe, column = self._stripe, self._stripe.across.starts[spot.column]
        first, last = max(column, stripe.left), min(column + self.tile_px, stripe.right)
        inside = slice(first - column, last - column)
        weights = np.outer(stripe.down.weights[spot.row], stripe.across.weights[spot.column][inside])
        scores = self._scores[:, :, first - stripe.left : last - stripe.left]
        scores.addcmul_(tile[:, :, inside], torch.from_numpy(weights).to(tile.device))

    def _finish_rows(self, row: int) -> None:
        """The rows that no tile from tile row `row` on reaches have their classes; the others move up."""
        assert self._scores is not None
        starts = self._stripe.down.starts
        end = starts[row] if row < len(starts) else self._stripe.height
        done = end - starts[self._row]
        is_byte = len(self._scores) - 1 <= torch.iinfo(torch.uint8).max
        best = self._scores[:, :done].max(dim=0).indices  # on a CPU a third of argmax's time
        self._rows.append(best.to(torch.uint8 if is_byte else torch.int32))
        kept = self._scores[:, done:].clone()
        self._scores.zero_()
        self._scores[:, : kept.shape[1]] = kept
        self._row = row


class Stripe(NamedTuple):
    """The pixels [left, right) of a picture's columns, and the tiles of the picture that have any of them."""

    down: Tiles
    across: Tiles
    height: int
    left: int
    right: int
    spots: Sequence[Spot]

    @property
    def width(self) -> int:
        return self.right - self.left

    def corner(self, spot: Spot) -> tuple[int, int]:
        """Top and left of a tile, in pixels of the picture."""
        return self.down.starts[spot.row], self.across.starts[spot.column]


def stripes(down: Tiles, across: Tiles, *, height: int, width: int, classes: int) -> Iterator[Stripe]:
    """A picture of `height` x `width` pixels in as few stripes as SCORE_BYTES allows.

    Tiles that two stripes share are predicted for both: it costs less than to keep their scores.
    """
    tile_px = across.weights.shape[1]
    widest = max(tile_px, SCORE_BYTES // (4 * classes * tile_px))
    edges = np.linspace(0, width, 1 + -(-width // widest)).round().astype(int).tolist()
    for left, right in pairwise(edges):
        columns = [i for i, start in enumerate(across.starts) if start < right and start + tile_px > left]
        spots = [Spot(row, column) for row in range(len(down.starts)) for column in columns]
        yield Stripe(down, across, height, left, right, spots)
