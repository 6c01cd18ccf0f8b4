"""A predictor whose module torch compiles for one batch size: smaller batches are padded, so that nothing is compiled
twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import torch

from vision_batch.errors import ModelError
from vision_batch.models.by_size import Sizes
from vision_batch.models.device import give_memory_back, is_out_of_memory
from vision_batch.models.outputs import picked
from vision_batch.models.predictor import Predictor
from vision_batch.models.transfer import Answer


class CompiledPredictor:
    """Called as a Predictor is. The first call compiles: tens of seconds, for a large model minutes."""

    def __init__(self, predictor: Predictor, rows: int, out_of_memory: Callable[[int], None]) -> None:
        """Takes `predictor` over; `rows` is the size of a batch, which none exceeds.

        `out_of_memory` is told of every size for which memory ran out: batches should have half of it from then on.
        """
        self.device = predictor.device
        self.ahead = predictor.ahead
        self._predictor = predictor
        self._rows = rows
        self._out_of_memory = out_of_memory
        predictor.module = cast(torch.nn.Module, torch.compile(predictor.module, dynamic=False))

    def start(self, pixels: np.ndarray, sizes: Sizes | None = None) -> Callable[[], Answer]:
        """As a Predictor's. ModelError where the module cannot be compiled, and where it sees pictures of any size.

        When memory runs out a batch has half the size from then on. The error passes where that is too few for these.
        """
        if sizes is not None and self._predictor.takes_sizes:
            raise ModelError(
                "a model that sees pictures in their own sizes (preprocess.longest_px) cannot be compiled for one; "
                "set compute.compile to false"
            )
        count = len(pixels)
        wait = self._start_padded(pixels)
        while wait is None:
            give_memory_back()  # behind the handler, because the error's traceback kept what the model had allocated
            wait = self._start_padded(pixels)

        def first_ones() -> Answer:
            answer = wait()
            return replace(answer, outputs=picked(answer.outputs, slice(count)))

        return first_ones

    def _start_padded(self, pixels: np.ndarray) -> Callable[[], Answer] | None:
        """None where memory ran out and half the size still holds these images."""
        count = len(pixels)
        black = np.zeros((max(0, self._rows - count), *pixels.shape[1:]), np.uint8)
        try:
            return self._predictor.start(np.concatenate([pixels, black]) if len(black) else pixels)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"the model cannot be compiled here; set compute.compile to false: {reason}") from error
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._out_of_memory(self._rows)
            is_enough = count <= self._rows // 2
            self._rows = max(1, self._rows // 2)
            if not is_enough:
                raise
            return None
