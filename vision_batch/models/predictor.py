"""A model, called on batches of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from vision_batch.errors import DeviceError, ModelError
from vision_batch.models.device import is_out_of_memory

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
DEVICE_FAILURES = ("CUDA error", "HIP error", "cuDNN error", "CUBLAS_STATUS", "device-side assert")


class Predictor:
    """Normalises uint8 pixels on the device and calls the module there.

    One thread at a time: the staging buffer is shared by all calls.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        precision: str,
        device: torch.device,
    ) -> None:
        """Moves `module` to `device`. `mean` and `std` are per RGB channel, of values in [0, 1]."""
        self.device = device
        self.autocast = AUTOCAST[precision]
        with device_errors():
            self.module = module.to(device)
            if device.type == "cuda" and all(parameter.dim() < 5 for parameter in module.parameters()):
                # as the images are: else cuDNN rearranges the kernels at every call; measured to be no gain on a CPU
                self.module = self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            mean_, std_ = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (mean, std))
            # (x / 255 - mean) / std as one multiply-add
            self.scale = (1 / (255 * std_)).float().to(device)
            self.bias = (-mean_ / std_).float().to(device)
        self._staging = torch.empty(0, dtype=torch.uint8)
        self._normalised = torch.empty(0, dtype=torch.float32)

    def __call__(self, pixels: np.ndarray) -> Any:
        """What the module says of uint8 RGB `pixels` (N, H, W, 3).

        Tensors become numpy arrays, floating-point ones float32, in the module's own structure of dicts and lists.
        Raises DeviceError when the accelerator failed; torch.OutOfMemoryError and all that the module raises pass.
        """
        with device_errors(), torch.inference_mode():
            # channels_last by its strides: (N, H, W, 3) seen as (N, 3, H, W), nothing is moved
            images = self._normalise(self._to_device(pixels)).permute(0, 3, 1, 2)
            with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                outputs = self.module(images)
            return to_numpy(outputs, self._normalised)

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, 3) on the device to float32 of the same shape.

        On a CPU into a buffer that is kept, and by whole rows of pixels: measured 12 times as fast as a new tensor and
        a broadcast over the channels, which the accelerator's allocator and kernels do not mind.
        """
        if self.device.type != "cpu":
            return torch.addcmul(self.bias.view(3), pixels.float(), self.scale.view(3))
        count, height, width, _ = pixels.shape
        if self._normalised.numel() < pixels.numel():
            self._normalised = torch.empty(pixels.numel())
        rows = self._normalised[: pixels.numel()].view(count, height, 3 * width)
        rows.copy_(pixels.view(count, height, 3 * width))
        torch.addcmul(self.bias.view(3).repeat(width), rows, self.scale.view(3).repeat(width), out=rows)
        return rows.view(count, height, width, 3)

    def _to_device(self, pixels: np.ndarray) -> torch.Tensor:
        if not pixels.flags.writeable:
            pixels = pixels.copy()  # torch.from_numpy wants memory that it could write to
        host = torch.from_numpy(np.ascontiguousarray(pixels))
        if self.device.type != "cuda":
            return host.to(self.device)
        # Overwriting the staging buffer is safe: the outputs' copy to the CPU has waited for all earlier work.
        if self._staging.numel() < host.numel():
            self._staging = torch.empty(host.numel(), dtype=torch.uint8, pin_memory=True)
        staged = self._staging[: host.numel()].view(host.shape)
        staged.copy_(host)
        return staged.to(self.device, non_blocking=True)


def to_numpy(outputs: Any, reused: torch.Tensor) -> Any:
    """Tensors in nested mappings and sequences as numpy arrays on the CPU, floating-point ones as float32.

    What lies in the memory of `reused`, which the next call overwrites, is copied.
    """
    if isinstance(outputs, torch.Tensor):
        array = (outputs.float() if outputs.is_floating_point() else outputs).cpu().numpy()
        is_reused = outputs.untyped_storage().data_ptr() == reused.untyped_storage().data_ptr()
        return array.copy() if is_reused else array
    if isinstance(outputs, Mapping):
        return {name: to_numpy(value, reused) for name, value in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        return [to_numpy(value, reused) for value in outputs]
    raise ModelError(f"the model returned a {type(outputs).__name__}; expected tensors, or dicts and lists of tensors")


@contextmanager
def device_errors() -> Iterator[None]:
    """Turns failures of the accelerator into DeviceError; what says that memory ran out and all else passes."""
    try:
        yield
    except RuntimeError as error:
        if is_device_failure(error) and not is_out_of_memory(error):
            raise DeviceError(str(error)) from error
        raise


def is_device_failure(error: RuntimeError) -> bool:
    """Whether the accelerator, and neither the model nor an image, is to blame."""
    text = str(error)
    return isinstance(error, torch.AcceleratorError) or any(words in text for words in DEVICE_FAILURES)
