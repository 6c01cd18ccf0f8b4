"""How pixels come to the device that computes and a model's outputs back: at once on a CPU, overlapped on CUDA."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from vision_batch.errors import ModelError
from vision_batch.models.normalise import normalise_rows

Call: TypeAlias = Callable[[torch.Tensor], Any]
"""What is to be done with normalised float32 images (N, 3, H, W), channels_last by their strides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a module says of one batch: numpy arrays, floating-point ones float32, in the module's own structure.

    `copy_s` is what it took to bring the pixels to the device, as float32, and the outputs back; `model_s` the module.
    """

    outputs: Any
    copy_s: float
    model_s: float


class Transfer(Protocol):
    """`ahead` is how many batches should be begun before the first one's answer is waited for."""

    @property
    def ahead(self) -> int: ...

    def start(self, pixels: np.ndarray, call: Call) -> Callable[[], Answer]:
        """Begins with uint8 `pixels` (N, H, W, 3), which may be changed afterwards; what is returned waits for the end.

        One thread at a time may begin; several may wait.
        """


class AtOnce:
    """For CPUs, and devices without streams: the batch is done when `start` returns."""

    ahead = 0

    def __init__(self, device: torch.device, scale: torch.Tensor, bias: torch.Tensor) -> None:
        """`scale` and `bias` (3,) are on the device."""
        self._device = device
        self._scale = scale
        self._bias = bias
        self._normalised = torch.empty(0, dtype=torch.float32)

    def start(self, pixels: np.ndarray, call: Call) -> Callable[[], Answer]:
        began = time.perf_counter()
        if not pixels.flags.writeable:
            pixels = pixels.copy()  # torch.from_numpy wants memory that it could write to
        images = self._normalise(torch.from_numpy(np.ascontiguousarray(pixels)))
        arrived = time.perf_counter()
        outputs = mapped(call(images.permute(0, 3, 1, 2)), self._to_numpy)
        answer = Answer(outputs=outputs, copy_s=arrived - began, model_s=time.perf_counter() - arrived)
        return lambda: answer

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, 3) on the CPU to float32 of the same shape on the device.

        On a CPU into a buffer that is kept; an accelerator's allocator and kernels do not mind a new tensor.
        """
        if self._device.type != "cpu":
            return torch.addcmul(self._bias, pixels.to(self._device).float(), self._scale)
        count, height, width, _ = pixels.shape
        if self._normalised.numel() < pixels.numel():
            self._normalised = torch.empty(pixels.numel())
        rows = self._normalised[: pixels.numel()].view(count, height, 3 * width)
        rows.copy_(pixels.view(count, height, 3 * width))
        normalise_rows(rows, self._scale, self._bias)
        return rows.view(count, height, width, 3)

    def _to_numpy(self, tensor: torch.Tensor) -> np.ndarray:
        """What lies in the buffer, which the next batch overwrites, is copied."""
        array: np.ndarray = as_float(tensor).cpu().numpy()
        is_kept = tensor.untyped_storage().data_ptr() == self._normalised.untyped_storage().data_ptr()
        return array.copy() if is_kept else array


class Streamed:
    """For CUDA: nothing here waits for the device, so that the pixels of the next batch are copied while one computes.

    Pixels go through pinned memory and a stream of their own; the model's stream waits for them there. Outputs come
    back at the end of the model's work, into pinned memory too, so that they are read while the next batch computes.
    torch's allocator of pinned memory hands a block out again when its copy has ended: no buffer is ours to guard.
    """

    ahead = 1

    def __init__(self, device: torch.device, scale: torch.Tensor, bias: torch.Tensor) -> None:
        """`scale` and `bias` (3,) are on the device."""
        self._device = device
        self._scale = scale
        self._bias = bias
        self._upload = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(self, pixels: np.ndarray, call: Call) -> Callable[[], Answer]:
        # `blocking`: who waits sleeps, for the decoders want the core
        sent, arrived, begun, computed, returned = (
            torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
            for _ in range(5)
        )
        staged = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        np.copyto(staged.numpy(), pixels)
        with torch.cuda.stream(self._upload):
            sent.record()
            images = staged.to(self._device, non_blocking=True)
            arrived.record()
        compute = torch.cuda.current_stream(self._device)
        compute.wait_event(arrived)
        images.record_stream(compute)  # else their memory could be the next upload's before the model has read it
        begun.record(compute)
        outputs = call(torch.addcmul(self._bias, images.float(), self._scale).permute(0, 3, 1, 2))
        computed.record(compute)
        fetched = mapped(outputs, _fetch)
        returned.record(compute)

        def wait() -> Answer:
            returned.synchronize()
            copy_ms = sent.elapsed_time(arrived) + computed.elapsed_time(returned)
            model_ms = begun.elapsed_time(computed)
            return Answer(outputs=mapped(fetched, torch.Tensor.numpy), copy_s=copy_ms / 1000, model_s=model_ms / 1000)

        return wait


def transfer_for(device: torch.device, scale: torch.Tensor, bias: torch.Tensor) -> Transfer:
    """The way for a device. `scale` and `bias` (3,), on the device, make float32 images of uint8 ones."""
    return (Streamed if device.type == "cuda" else AtOnce)(device, scale, bias)


def mapped(outputs: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Nested mappings and sequences of tensors with each tensor changed; ModelError for anything else in them."""
    if isinstance(outputs, torch.Tensor):
        return change(outputs)
    if isinstance(outputs, Mapping):
        return {name: mapped(value, change) for name, value in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        return [mapped(value, change) for value in outputs]
    raise ModelError(f"the model returned a {type(outputs).__name__}; expected tensors, or dicts and lists of tensors")


def as_float(tensor: torch.Tensor) -> torch.Tensor:
    """Floating-point tensors as float32, others as they are."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _fetch(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in pinned memory, which is there when the stream's work so far is done."""
    values = as_float(tensor)
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda).copy_(values, non_blocking=True)
