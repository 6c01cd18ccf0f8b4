"""What moves the parameters: torch's optimizers, with decay where it belongs, L1, and the clipping of gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from vision_batch.errors import ModelError
from vision_batch.training.losses import LossTerm
from vision_batch.training.settings import OptimizerSettings

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
SGD_MOMENTUM = 0.9


def build_optimizer(module: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """The optimizer of all parameters that want a gradient; ModelError where there is none.

    Its groups: those that decay, then those that do not, neither when it would be empty.
    """
    decaying, others = _split(module)
    groups: list[dict[str, Any]] = [
        {"params": list(parameters), "weight_decay": decay}
        for parameters, decay in ((decaying, settings.weight_decay), (others, 0.0))
        if parameters
    ]
    if not groups:
        raise ModelError("the model has no parameter that wants a gradient: there is nothing to train")
    match settings.name:
        case "sgd":
            momentum = SGD_MOMENTUM if settings.momentum is None else settings.momentum
            return SGD(groups, lr=settings.lr, momentum=momentum, nesterov=settings.nesterov)
        case "adam":
            return Adam(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
        case "adamw":
            return AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
        case "rmsprop":
            momentum = settings.momentum or 0.0
            return RMSprop(groups, lr=settings.lr, alpha=settings.alpha, eps=settings.eps, momentum=momentum)


def l1_term(module: nn.Module, settings: OptimizerSettings) -> LossTerm | None:
    """`l1` · Σ |w| over the parameters that decay; None where the spec asks for none.

    Every worker gives it with weight 1, and all workers hold the same parameters: the mean of W equal totals over W
    weights counts it once, however many workers, or batches of an accumulated step, there are.
    """
    if not settings.l1:
        return None
    decaying, _ = _split(module)
    if not decaying:
        return None
    total = torch.stack([_whole(parameter.abs().sum()) for parameter in decaying]).sum()
    return LossTerm(factor=settings.l1, total=total, weight=torch.ones_like(total))


def clip_gradients(module: nn.Module, norm: float | None) -> Tensor:
    """Scales all gradients together so that their L2 norm is at most `norm`; returns the norm before, a scalar."""
    parameters = [parameter for parameter in module.parameters() if parameter.grad is not None]
    total = _whole(nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None]))
    if norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, norm, total)
    return total


def _split(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that decay, and the others: biases and scales (one value a channel), and all of normalisations."""
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter, owner in _parameters(module):
        is_exempt = parameter.ndim <= 1 or isinstance(owner, NORMS)
        (others if is_exempt else decaying).append(parameter)
    return decaying, others


def _parameters(module: nn.Module) -> Iterator[tuple[nn.Parameter, nn.Module]]:
    """Each parameter that wants a gradient once, in the module's order, and which module owns it."""
    seen: set[nn.Parameter] = set()
    for owner in module.modules():
        for parameter in owner.parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield parameter, owner


def _whole(value: Tensor) -> Tensor:
    """A scalar that is spread over the workers (FSDP), put together."""
    return value.full_tensor() if isinstance(value, DTensor) else value
