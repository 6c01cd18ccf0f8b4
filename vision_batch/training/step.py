"""One step of the optimizer on all workers together.

Its gradient is that of the mean over the images of the global batch, however many workers share it: each of them
back-propagates its own images' total over the weight of all, times the number of workers, and the exchange of gradients
takes the mean over these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from vision_batch.models.transfer import mapped
from vision_batch.training.ema import Ema
from vision_batch.training.failure import step_errors, suspects, told
from vision_batch.training.feed import Share, StepInput, step_seed
from vision_batch.training.forward import Forward
from vision_batch.training.losses import Loss, combine
from vision_batch.training.mode import kept_statistics
from vision_batch.training.optimizer import clip_gradients, l1_term
from vision_batch.training.own_loss import OwnLoss
from vision_batch.training.parallel import Parallel
from vision_batch.training.settings import TrainSettings
from vision_batch.training.together import Together


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A step whose work was given to the device.

    `weights` (T,) are those of the loss's terms on all workers. For each share `outputs` has what the module said, and
    `totals` (T,) each term's factor times its sum. `norm` is the length of the gradients, `buffers` what the module's
    were before, where that may be wanted.
    """

    input: StepInput
    weights: Tensor
    outputs: Sequence[Any]
    totals: Sequence[Tensor]
    norm: Tensor
    buffers: Sequence[Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What became of a step, the same on all workers.

    `loss` is the mean over the global batch's `images`, without the L1 term; None where the step was left out: the loss
    or its gradient was no number, as `trouble` says, or every image was broken. `asked` is what was asked for, summed.
    """

    loss: float | None
    images: int
    gradient_norm: float
    trouble: str
    asked: tuple[float, ...]


class Stepper:
    """Takes steps: `begin` gives the device its work, `end` waits for it and moves the parameters."""

    def __init__(
        self,
        model: Parallel,
        optimizer: Optimizer,
        loss: Loss | OwnLoss,
        forward: Forward,
        together: Together,
        settings: TrainSettings,
        *,
        scaler: torch.amp.GradScaler,
        ema: Ema | None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._loss = loss
        self._forward = forward
        self._together = together
        self._settings = settings
        self._scaler = scaler
        self._ema = ema

    def begin(self, input: StepInput) -> Begun:
        """Forward and backward of all shares; errors as `step_errors` has them."""
        seed_torch(
            step_seed(self._settings.seed, input.number, self._together.rank, use="model"), self._together.device
        )
        is_guarded = self._settings.on_nan == "skip"
        buffers = [buffer.clone() for buffer in self._model.module.buffers()] if is_guarded else []
        with step_errors():
            weights = self._together.summed(input.weights.clone())
            learned = [self._learn(share, weights, is_last=share is input.shares[-1]) for share in input.shares]
            self._scaler.unscale_(self._optimizer)
            norm = clip_gradients(self._model.module, self._settings.clip_norm)
        outputs, totals = zip(*learned, strict=True)
        return Begun(input=input, weights=weights, outputs=outputs, totals=totals, norm=norm, buffers=buffers)

    def end(self, begun: Begun, asked: Sequence[float]) -> StepResult:
        """Moves the parameters, unless there is nothing to learn from. All workers give as many `asked`."""
        count = len(begun.weights)
        with step_errors():
            facts = torch.cat(
                [begun.weights, torch.stack(list(begun.totals)).sum(0), begun.norm.to(begun.weights)[None]]
            )
            *values, norm = facts.tolist()  # here the host waits for the device
        weights, own = values[:count], values[count:]
        is_number = all(map(math.isfinite, own))
        summed = self._together.sums([float(not is_number), float(begun.input.images), *own, *asked])
        strange, images = summed[:2]
        # with fp16 an infinite gradient is nothing special: the scaler leaves the step out and takes a smaller scale
        has_trouble = strange > 0 or not (math.isfinite(norm) or self._scaler.is_enabled())
        is_learned = images > 0 and not has_trouble
        with step_errors():
            self._move(begun, is_learned=is_learned)
        return StepResult(
            loss=_mean(summed[2 : 2 + count], weights) if is_learned else None,
            images=int(images),
            gradient_norm=norm,
            trouble=self._trouble(begun) if has_trouble else "",
            asked=tuple(summed[2 + count :]),
        )

    def _learn(self, share: Share, weights: Tensor, *, is_last: bool) -> tuple[Any, Tensor]:
        """Outputs and the totals of the loss's terms, both without history; the gradients are added to those before."""
        has_no_statistics = not len(share) or (len(share) == 1 and self._settings.batch_size > 1)
        with self._model.gathering(is_last=is_last), kept_statistics(self._model.module, enabled=has_no_statistics):
            outputs = self._forward.learning(self._model, share)
            terms = self._loss(outputs, share.targets)
            loss = combine(terms, list(weights)) * self._together.workers
            if is_last and (penalty := l1_term(self._model.module, self._settings.optimizer)):
                loss = loss + penalty.factor * penalty.total  # the same on every worker, as is then the mean of it
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return mapped(outputs, torch.Tensor.detach), torch.stack(
            [term.factor * term.total.detach() for term in terms]
        ).to(weights)

    def _move(self, begun: Begun, *, is_learned: bool) -> None:
        if is_learned:
            self._scaler.step(self._optimizer)
            if self._ema is not None:
                self._ema.update(self._model.module)
        else:
            for buffer, before in zip(self._model.module.buffers(), begun.buffers, strict=False):
                buffer.copy_(before)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)

    def _trouble(self, begun: Begun) -> str:
        return told(self._together.from_all(suspects(begun.input.shares, begun.outputs, begun.totals)))


def _mean(totals: Sequence[float], weights: Sequence[float]) -> float:
    return sum(total / weight for total, weight in zip(totals, weights, strict=True) if weight)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seeds what a module draws from. torch.manual_seed would remember the call for every kind of device not in use."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
