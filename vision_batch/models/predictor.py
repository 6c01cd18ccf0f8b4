"""A model, called on batches of pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from vision_batch.errors import DeviceError
from vision_batch.models.by_size import Sizes
from vision_batch.models.device import is_out_of_memory
from vision_batch.models.normalise import scale_and_bias
from vision_batch.models.transfer import Answer, transfer_for

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
DEVICE_FAILURES = ("CUDA error", "HIP error", "cuDNN error", "CUBLAS_STATUS", "device-side assert")


class Predictor:
    """Normalises uint8 pixels on the device and calls the module there."""

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
        with device_errors(of_batch=False):
            self.module = module.to(device)
            if device.type == "cuda" and all(parameter.dim() < 5 for parameter in module.parameters()):
                # as the images are: else cuDNN rearranges the kernels at every call; measured to be no gain on a CPU
                self.module = self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.takes_sizes = bool(getattr(module, "takes_sizes", False))
            self._transfer = transfer_for(device, *scale_and_bias(mean, std, device))

    @property
    def ahead(self) -> int:
        """How many batches should be begun before the first one's answer is waited for."""
        return self._transfer.ahead

    def __call__(self, pixels: np.ndarray, sizes: Sizes | None = None) -> Any:
        """What the module says of uint8 RGB `pixels` (N, H, W, 3): `outputs` of the Answer."""
        return self.start(pixels, sizes)().outputs

    def start(self, pixels: np.ndarray, sizes: Sizes | None = None) -> Callable[[], Answer]:
        """Begins with uint8 RGB `pixels` (N, H, W, 3); what is returned gives the answer, and waits for it.

        `sizes` are those of the pictures that lie in its corners; a module that `takes_sizes` is given them (by_size).
        Only one thread at a time may begin. Both raise DeviceError when the accelerator failed: it works on its own, so
        an earlier batch may be the cause. Errors for want of memory, and all that the module raises, pass.
        """
        with device_errors(), torch.inference_mode():
            wait = self._transfer.start(pixels, partial(self._call, sizes=sizes if self.takes_sizes else None))
        return lambda: _answer(wait)

    def _call(self, images: torch.Tensor, *, sizes: Sizes | None) -> Any:
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self.module(images) if sizes is None else self.module(images, sizes)


def _answer(wait: Callable[[], Answer]) -> Answer:
    with device_errors(of_batch=False):
        return wait()


@contextmanager
def device_errors(*, of_batch: bool = True) -> Iterator[None]:
    """Turns failures of the accelerator into DeviceError; all else passes.

    So does what says that memory ran out, where it is for want of memory `of_batch`, and a smaller one can be begun.
    """
    try:
        yield
    except RuntimeError as error:
        if is_device_failure(error) and not (of_batch and is_out_of_memory(error)):
            raise DeviceError(str(error)) from error
        raise


def is_device_failure(error: RuntimeError) -> bool:
    """Whether the accelerator, and neither the model nor an image, is to blame."""
    text = str(error)
    return isinstance(error, torch.AcceleratorError) or any(words in text for words in DEVICE_FAILURES)
