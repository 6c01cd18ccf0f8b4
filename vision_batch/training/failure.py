"""What goes wrong in a step, in words: errors of torch, and losses that are no numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vision_batch.errors import DeviceError, ModelError, VisionBatchError
from vision_batch.models.device import is_out_of_memory
from vision_batch.models.predictor import is_device_failure
from vision_batch.training.feed import Share

NOT_THE_MODULES = ("gloo", "NCCL", "does not have a deterministic implementation")
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


@contextmanager
def module_errors() -> Iterator[None]:
    """Turns what a module raises of itself into a ModelError: other workers would raise it as well, again and again.

    What `step_errors` knows better passes, and so does the loss of another worker, which torch notices in the same
    place: gloo says that in a plain RuntimeError.
    """
    try:
        yield
    except (VisionBatchError, MemoryError, torch._dynamo.exc.TorchDynamoException, torch.distributed.DistError):
        raise
    except Exception as error:  # the user's own code: whatever it raises, it cannot be trained
        is_known = isinstance(error, RuntimeError) and (is_out_of_memory(error) or is_device_failure(error))
        if is_known or any(word in str(error) for word in NOT_THE_MODULES):
            raise
        raise ModelError(f"the model raised {type(error).__name__}: {_one_line(error)}") from error


def suspects(shares: Sequence[Share], outputs: Sequence[Any], totals: Sequence[Tensor]) -> str:
    """The images, some of them, to whose loss a worker owes that it is no number; empty where all is finite.

    Outputs (n, …) tell them apart. Where a module says losses and no more it may be any image of the share.
    """
    names: list[str] = []
    for share, answer, total in zip(shares, outputs, totals, strict=True):
        if total.isfinite().all():
            continue
        chosen = [True] * len(share)
        if isinstance(answer, Tensor) and not answer.isfinite().all():
            chosen = (~answer.flatten(1).isfinite().all(1)).tolist()
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
