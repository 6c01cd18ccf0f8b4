"""The modes of a module's layers while it learns: batch norm is what differs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def set_training(module: nn.Module) -> None:
    """The mode for learning. Batch norms whose parameters are all frozen keep their statistics, too."""
    module.train()
    for norm in _norms(module):
        parameters = list(norm.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            norm.eval()


@contextmanager
def kept_statistics(module: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Has batch norms use their running statistics, and leave them as they are.

    For one image that was left over from larger batches: it has no statistics; and for one that stands for none. Those
    that count over all workers (SyncBatchNorm) go on: they wait for each other.
    """
    norms = [norm for norm in _norms(module) if norm.training and norm.track_running_stats] if enabled else []
    norms = [norm for norm in norms if not isinstance(norm, nn.SyncBatchNorm)]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def has_synchronised_norm(module: nn.Module) -> bool:
    return any(isinstance(norm, nn.SyncBatchNorm) for norm in _norms(module))


def _norms(module: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
