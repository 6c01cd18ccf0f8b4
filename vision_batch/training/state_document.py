"""Nested states of modules and optimizers as JSON and tensors, and back, exactly: no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

PLAIN = (str, bool, int, float, type(None))
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the dimensions of a tensor: the order in memory that it may have besides the usual one."""


def pack_state(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A value of JSON, and the tensors that it names.

    Dicts (keys of text or whole numbers), lists, tuples, plain values and tensors come back as what they are, tensors
    on the CPU. TypeError for anything else.
    """
    tensors: dict[str, Tensor] = {}
    return _pack(state, tensors), tensors


def unpack_state(document: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `pack_state` was given. KeyError or ValueError where the two do not go together."""
    if isinstance(document, PLAIN):
        return document
    if isinstance(document, list):
        return [unpack_state(value, tensors) for value in document]
    match document:
        case {"dict": pairs}:
            return {key: unpack_state(value, tensors) for key, value in pairs}
        case {"tuple": values}:
            return tuple(unpack_state(value, tensors) for value in values)
        case {"tensor": name, "channels_last": is_last}:
            tensor = tensors[name]
            return tensor.contiguous(memory_format=CHANNELS_LAST[tensor.ndim]) if is_last else tensor
        case _:
            raise ValueError(f"not a packed value: {document!r:.80}")


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name, "channels_last": _is_channels_last(value)}
    if isinstance(value, Mapping):
        if strange := [key for key in value if type(key) not in (str, int)]:
            raise TypeError(f"a key of a state is text or a whole number, not {strange[0]!r}")
        return {"dict": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    raise TypeError(f"a state holds tensors and plain values, not {type(value).__name__}: {value!r:.80}")


def _is_channels_last(tensor: Tensor) -> bool:
    order = CHANNELS_LAST.get(tensor.ndim)
    return order is not None and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=order)
