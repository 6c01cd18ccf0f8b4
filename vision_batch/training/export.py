"""A trained module as a program that says the same: exported, read back the way serving reads it, and compared."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vision_batch.errors import ModelError
from vision_batch.models.export_program import load_program
from vision_batch.models.predictor import Predictor
from vision_batch.models.trained import PROGRAM

TOLERANCE = 1e-4
"""How far outputs may be apart, of the largest of them or of 1. What agrees differs by the order of sums: by 1e-6."""
RANDOM_IMAGES = (1, 2, 5)
"""The batches of random pixels that are tried: one image, as many as the program was traced with, and more."""
SEED = 0


def export_checked(
    module: torch.nn.Module,
    pixels: NDArray[np.uint8],
    *,
    size: tuple[int, ...],
    mean: Sequence[float],
    std: Sequence[float],
) -> bytes:
    """`module` (in eval mode, on the CPU) as a `.pt2` archive for batches of any size.

    It has gone through the reader that serving has, and agrees with the module on random pixels and on `pixels`, uint8
    (n, H, W, 3); `size` is their (H, W). ModelError, with the reason, where it cannot be exported or differs.
    """
    data = _exported(module, torch.zeros(2, 3, *size))
    device = torch.device("cpu")
    program, original = (
        Predictor(each, mean=mean, std=std, precision="fp32", device=device)
        for each in (load_program(data, PROGRAM), module)
    )
    generator = np.random.default_rng(SEED)
    batches = [generator.integers(0, 256, (count, *size, 3), np.uint8) for count in RANDOM_IMAGES]
    for batch in [*batches, *([pixels] if len(pixels) else [])]:
        if (apart := _apart(program(batch), original(batch))) > TOLERANCE:
            raise ModelError(f"the exported program's outputs differ from the module's by {apart:.2g} of the largest")
    return data


def _exported(module: torch.nn.Module, images: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    try:
        torch.export.save(torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim("N")},)), buffer)
    except Exception as error:  # the user's own code is traced: whatever it raises, it cannot be exported
        text = " ".join(str(error).split())
        raise ModelError(f"torch.export cannot trace it: {type(error).__name__}: {text[:300]}") from error
    return buffer.getvalue()


def _apart(found: Any, wanted: Any) -> float:
    """The largest difference of two outputs' numbers, over the largest number or 1; infinity for other shapes."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping) or found.keys() != wanted.keys():
            return float("inf")
        return max((_apart(found[name], wanted[name]) for name in wanted), default=0.0)
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return float("inf")
        return max(map(_apart, found, wanted), default=0.0)
    if found.shape != wanted.shape or not np.array_equal(np.isfinite(found), np.isfinite(wanted)):
        return float("inf")
    finite = np.isfinite(wanted)
    scale = max(1.0, float(np.abs(wanted[finite]).max(initial=0.0)))
    return float(np.abs(found[finite] - wanted[finite]).max(initial=0.0)) / scale
