"""What every task demands of a tensor of logits."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.errors import ModelError
from vision_batch.tasks.task import Agreement

NO_NUMBERS: Final = "NaN or infinity"
NOT_COMPARABLE: Final = Agreement(is_close=False, text=f"it gives {NO_NUMBERS}, or fp32 gives nothing else")
"""What is said of a lower precision where `comparable` is None."""


def check_logits(outputs: Any, count: int | None, labels: tuple[str, ...] | None, *, axes: str, what: str) -> None:
    """ModelError unless `outputs` is a floating-point array with these `axes`, for `count` images and `labels`.

    `what` is the task, as a person calls it; `axes` is such as (N, C).
    """
    if not isinstance(outputs, np.ndarray):
        raise ModelError(
            f"the model returned {described(outputs)}; {what} needs one tensor of {axes} logits: "
            "return it from forward()"
        )
    is_float = np.issubdtype(outputs.dtype, np.floating)
    if outputs.ndim != len(axes.split(",")) or 0 in outputs.shape[1:] or not is_float:
        raise ModelError(
            f"the model returned {outputs.dtype} of shape {outputs.shape}; {what} needs floating-point "
            f"logits of shape {axes}, N images and C classes, neither softmax nor sigmoid applied"
        )
    if count is not None and outputs.shape[0] != count:
        raise ModelError(
            f"the model returned {outputs.shape[0]} rows for {count} images; {what} needs one row per image"
        )
    if labels is not None and outputs.shape[1] != len(labels):
        raise ModelError(
            f"the model returned scores for {outputs.shape[1]} classes and model.labels has {len(labels)} "
            "names; give one name per class, in the order of the model's outputs"
        )


def finite(outputs: np.ndarray) -> NDArray[np.bool_]:
    """Bool (N,): which of the images have no NaN and no infinity in their logits (N, ...)."""
    return np.asarray(np.isfinite(outputs).all(axis=tuple(range(1, outputs.ndim))))


def comparable(exact: np.ndarray, lowered: np.ndarray) -> NDArray[np.bool_] | None:
    """Bool (N,): the images that have a prediction in fp32; None where there are none, or one of them has no other."""
    usable = finite(exact)
    return usable if usable.any() and finite(lowered[usable]).all() else None


def described(outputs: Any) -> str:
    if isinstance(outputs, dict):
        return f"a dict with {', '.join(map(str, outputs))}"
    if isinstance(outputs, (list, tuple)):
        return f"a {type(outputs).__name__} of {len(outputs)}"
    return f"a {type(outputs).__name__}"
