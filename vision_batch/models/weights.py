"""Safetensors weights, loaded into a module."""

from __future__ import annotations

from collections.abc import Mapping

import safetensors
import safetensors.torch
import torch

from vision_batch.errors import ModelError
from vision_batch.models.digest import CONVERT, HEAD_BYTES, not_safetensors, read_checked

SHOWN = 5
"""How many of the names that do not fit a message shows."""


def load_weights(module: torch.nn.Module, uri: str, sha256: str) -> None:
    """Loads a safetensors file into `module`; ModelError unless names and shapes are exactly the module's."""
    data = read_checked(uri, sha256)
    if reason := not_safetensors(data[:HEAD_BYTES]):
        raise ModelError(f"{uri} {reason}; safetensors is expected; convert a file you trust: {CONVERT}")
    try:
        weights = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise ModelError(f"{uri} is not a whole safetensors file: {error}") from error
    if differences := compare(module.state_dict(), weights):
        raise ModelError(f"{uri} does not fit the model: {'; '.join(differences)}")
    module.load_state_dict(weights, strict=True)


def compare(wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> list[str]:
    """What differs between a module's tensors and a file's: names on one side only, and other shapes."""
    shapes = {name: (tuple(wanted[name].shape), tuple(found[name].shape)) for name in wanted if name in found}
    kinds = {
        "missing": [f"{name} {tuple(wanted[name].shape)}" for name in wanted if name not in found],
        "unexpected": [f"{name} {tuple(found[name].shape)}" for name in sorted(found) if name not in wanted],
        "other shape": [
            f"{name}: model {ours}, file {theirs}" for name, (ours, theirs) in shapes.items() if ours != theirs
        ],
    }
    return [f"{kind}: {_first(names)}" for kind, names in kinds.items() if names]


def _first(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
