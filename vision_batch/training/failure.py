"""What goes wrong in a step, in words: errors of torch, and losses that are no numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from vision_batch.errors import DeviceError, ModelError
from vision_batch.models.device import is_out_of_memory
from vision_batch.models.predictor import is_device_failure
from vision_batch.training.feed import Share

SHOWN = 5
"""How many images each worker names that may be to blame for a loss that is no number."""


@contextmanager
def step_errors() -> Iterator[None]:
    """Turns what torch raises into a ModelError with the way out, or a DeviceError; what the module raises passes."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        raise ModelError(f"the model cannot be compiled; set compute.compile to false: {_one_line(error)}") from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            advice = "make train.batch_size smaller and train.accumulate larger, or set train.fsdp"
            raise ModelError(f"the device has not enough memory for a step; {advice}: {_one_line(error)}") from error
        if is_device_failure(error):
            raise DeviceError(str(error)) from error
        if "does not have a deterministic implementation" in str(error):
            raise ModelError(f"set train.deterministic to false: {_one_line(error)}") from error
        raise


def suspects(shares: Sequence[Share], outputs: Sequence[Tensor], totals: Sequence[Tensor]) -> str:
    """The images, some of them, to whose loss a worker owes that it is no number; empty where all is finite."""
    names: list[str] = []
    for share, answer, total in zip(shares, outputs, totals, strict=True):
        if total.isfinite().all():
            continue
        strange = ~answer.flatten(1).isfinite().all(1)
        chosen = strange.tolist() if strange.any() else [True] * len(share)
        names += [image_id for image_id, is_chosen in zip(share.image_ids, chosen, strict=True) if is_chosen]
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def told(suspects_by_rank: Sequence[str]) -> str:
    """What every worker found, in one line."""
    found = [f"worker {rank}, {names}" for rank, names in enumerate(suspects_by_rank) if names]
    if not found:
        return "a gradient is NaN or infinite, though the loss is not"
    return f"the loss is NaN or infinite: {'; '.join(found)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
