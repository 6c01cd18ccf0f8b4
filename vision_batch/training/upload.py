"""How a batch comes to the device: uint8 pixels are copied there and normalised there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vision_batch.models.normalise import normalise_rows, scale_and_bias


class Upload:
    """Makes float32 images (n, 3, H, W), normalised, channels_last by their strides, of uint8 ones (n, H, W, 3).

    On CUDA nothing here waits: the copies go through pinned memory and a stream of their own, beside the work of the
    batch before.
    """

    def __init__(self, device: torch.device, mean: Sequence[float], std: Sequence[float]) -> None:
        """`mean` and `std` are per RGB channel, of values in [0, 1]."""
        self._scale, self._bias = scale_and_bias(mean, std, device)
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        """The array must not change before the images were used."""
        is_usable = pixels.flags.writeable and pixels.flags.c_contiguous
        raw = self._sent(torch.from_numpy(pixels if is_usable else pixels.copy()))
        count, height, width, _ = raw.shape
        rows = raw.view(count, height, 3 * width).float()
        normalise_rows(rows, self._scale, self._bias)
        return rows.view(count, height, width, 3).permute(0, 3, 1, 2)

    def plain(self, values: NDArray[Any]) -> Tensor:
        """A copy on the device as it is."""
        return self._sent(torch.from_numpy(np.array(values, order="C")))

    def _sent(self, source: Tensor) -> Tensor:
        if self._stream is None:
            return source.to(self.device)
        staged = source if source.is_pinned() else source.pin_memory()
        compute = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            copy = staged.to(self.device, non_blocking=True)
        compute.wait_stream(self._stream)
        copy.record_stream(compute)  # else its memory could be the next copy's before the model has read it
        return copy


class IdleClock:
    """Measures how long a device stands still because the images for its next step are not there yet.

    `busy`, then `fed`, then `idle_s`. On CUDA the device goes on after `busy`, so that waiting may cost nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self._marks: list[torch.cuda.Event] = []
        self._times = [0.0, 0.0]
        self._on_cuda = device.type == "cuda"
        self._feeding = torch.cuda.Stream(device) if self._on_cuda else None  # type: ignore[no-untyped-call]

    def busy(self) -> None:
        """All work that there is has been given to the device; on a CPU it is done."""
        self._times[0] = time.perf_counter()
        if self._on_cuda:
            self._marks = [_mark(None)]

    def fed(self) -> None:
        """The next images are there."""
        self._times[1] = time.perf_counter()
        if self._on_cuda:
            self._marks.append(_mark(self._feeding))

    def idle_s(self) -> float:
        """From the end of the work to the images. On CUDA it waits for that end."""
        if not self._on_cuda:
            return self._times[1] - self._times[0]
        for mark in self._marks:
            mark.synchronize()
        milliseconds: float = self._marks[0].elapsed_time(self._marks[1])
        return max(0.0, milliseconds / 1000)


def _mark(stream: torch.cuda.Stream | None) -> torch.cuda.Event:
    """A moment in the current stream, or in one that has nothing else to do: there it is the host's."""
    mark = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    mark.record(stream)
    return mark
