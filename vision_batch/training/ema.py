"""A moving average of a module while it learns."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


class Ema:
    """The exponential moving average of a module's parameters and buffers, as torch's AveragedModel keeps it.

    After the n-th update (from 0) the average is d · average + (1 - d) · module, d = min(`decay`, (1 + n) / (10 + n)):
    so early steps soon weigh little. The first update copies. Counts among the buffers are copied each time.
    With FSDP it is made of the module before that is sharded, and its own `module` is sharded alike.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._average = AveragedModel(module, multi_avg_fn=self._blend, use_buffers=True)
        self._decay = decay
        self._updates = 0
        self.module.requires_grad_(False)

    @property
    def module(self) -> nn.Module:
        """A copy of the module that holds the average; before the first update, the values it was made with."""
        module: nn.Module = self._average.module
        return module

    @property
    def updates(self) -> int:
        return self._updates

    def update(self, module: nn.Module) -> None:
        """Counts the module in as it is now; call it after each optimizer step."""
        self._average.update_parameters(module)
        self._updates += 1

    def resume_at(self, updates: int) -> None:
        """Says how many updates `module`, loaded from elsewhere, holds."""
        self._updates = updates
        self._average.n_averaged.fill_(updates)

    @torch.no_grad()
    def _blend(self, average: Tensors, current: Tensors, _: Tensor | int) -> None:
        if average[0].is_floating_point():
            decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
            torch._foreach_lerp_(average, current, 1 - decay)
        else:
            torch._foreach_copy_(average, current)
