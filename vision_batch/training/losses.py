"""Losses as sums and weights: what many workers computed adds up to exactly PyTorch's mean over all their images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_batch.errors import ModelError
from vision_batch.training.settings import LossName, LossSettings, TrainSettings

IGNORE = 255
"""In a mask of up to 255 classes: this pixel has no class and teaches nothing."""
IGNORE_16_BIT = 65535
"""The same in a mask of more classes."""
SKIPPED = -100
"""How torch's own losses call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerm:
    """One term over some images: its value is `factor` · Σ `total` / Σ `weight`, both summed over all workers.

    `total` is a differentiable scalar, also for no images, `weight` a scalar of what PyTorch's `mean` divides by:
    images, pixels or elements, or the sum of their class weights. Where that is 0 the term is 0.
    """

    factor: float
    total: Tensor
    weight: Tensor


def combine(terms: Sequence[LossTerm], weights: Sequence[Tensor] | None = None) -> Tensor:
    """The loss of `terms`, a scalar; `weights` are those of all workers together, where there are several."""
    own = [term.weight for term in terms] if weights is None else weights
    return torch.stack(
        [
            term.factor * term.total / torch.where(weight == 0, 1, weight)
            for term, weight in zip(terms, own, strict=True)
        ]
    ).sum()


class Loss:
    """Compares a module's outputs with targets.

    Outputs are float (N, C) or, for masks, (N, C, h, w): logits, resized bilinearly where masks have another size.
    Targets are class indices (N,) or (N, H, W), with IGNORE in masks, or float in the shape of the outputs: 0 and 1
    for classes that do not exclude each other, shares that sum to 1 for classes that do, else what is to be met. For
    bce, mse and huber indices become 0 and 1.

    All is computed in float32 at least. `class_weights` (C,) go by PyTorch's rules: cross_entropy and focal weigh
    images or pixels, and divide by the weights of their classes unless targets are shares; bce weighs the ones
    (`pos_weight`).
    """

    def __init__(
        self, terms: Sequence[LossSettings], class_weights: Sequence[float] | None = None, *, exclusive: bool = True
    ) -> None:
        self._terms = tuple(terms)
        self._weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
        self._exclusive = exclusive

    def __call__(self, outputs: Tensor, targets: Tensor) -> list[LossTerm]:
        batch = _Batch.of(outputs, targets, exclusive=self._exclusive)
        weights = self._class_weights(batch.logits)
        terms = []
        for settings in self._terms:
            total = TOTALS[settings.name](batch, settings, weights)
            weight = DIVISORS[settings.name](batch, weights).to(total.dtype)
            terms.append(LossTerm(factor=settings.weight, total=total, weight=weight))
        return terms

    def weights(self, targets: Tensor, classes: int) -> Tensor:
        """The weights of the terms, float32 (T,): they do not depend on outputs, and may be summed before these are."""
        size = targets.shape[1:] if targets.ndim == 3 else targets.shape[2:]
        logits = torch.zeros((), device=targets.device).expand(len(targets), classes, *size)
        batch = _Batch.of(logits, targets, exclusive=self._exclusive)
        weights = self._class_weights(batch.logits)
        return torch.stack([DIVISORS[settings.name](batch, weights).float() for settings in self._terms])

    def _class_weights(self, logits: Tensor) -> Tensor | None:
        if self._weights is None:
            return None
        if len(self._weights) != logits.shape[1]:
            raise ModelError(
                f"class_weights has {len(self._weights)} weights, the model answers {logits.shape[1]} classes"
            )
        self._weights = self._weights.to(logits.device)
        return self._weights.to(logits.dtype)


def loss_for(
    settings: TrainSettings, default: LossName, class_weights: Sequence[float] | None = None, *, exclusive: bool = True
) -> Loss:
    """The losses that a spec names, or the task's `default`; `exclusive` says that an image has one class only."""
    return Loss(settings.losses or (LossSettings(name=default),), class_weights, exclusive=exclusive)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Outputs and targets laid flat: M = `images` · `pixels`, 1 pixel each where an image has one target.

    `logits` (M, C). One of `indices` (M,), SKIPPED where nothing is to be learned, and `dense` (M, C).
    One dimension of classes behind one of pixels needs no copy where the model is channels_last, and has kernels that
    repeat bit for bit, which torch's two-dimensional loss has not on CUDA.
    """

    images: int
    pixels: int
    logits: Tensor
    indices: Tensor | None
    dense: Tensor | None
    exclusive: bool

    @classmethod
    def of(cls, outputs: Tensor, targets: Tensor, *, exclusive: bool) -> _Batch:
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        if outputs.ndim == 4 and outputs.shape[2:] != targets.shape[-2:]:
            outputs = F.interpolate(outputs, size=targets.shape[-2:], mode="bilinear", align_corners=False)
        is_dense = targets.is_floating_point()
        expected = outputs.shape if is_dense else outputs.shape[:1] + outputs.shape[2:]
        if outputs.ndim not in (2, 4) or targets.shape != expected:
            raise ModelError(f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} do not go together")
        return cls(
            images=len(outputs),
            pixels=math.prod(outputs.shape[2:]),
            logits=_flat(outputs),
            indices=None if is_dense else _skipping(targets, outputs.shape[1]).flatten(),
            dense=_flat(targets.to(outputs.dtype)) if is_dense else None,
            exclusive=exclusive,
        )

    @property
    def valid(self) -> Tensor:
        """Bool (M,): what there is to learn from."""
        if self.indices is None:
            return torch.ones(len(self.logits), dtype=torch.bool, device=self.logits.device)
        return self.indices != SKIPPED

    @property
    def shares(self) -> Tensor:
        """`dense`, or the indices as 0 and 1, all 0 where nothing is to be learned; (M, C)."""
        if self.indices is None:
            assert self.dense is not None
            return self.dense
        classes = torch.arange(self.logits.shape[1], device=self.logits.device)
        return (self.indices[:, None] == classes).to(self.logits.dtype)

    def over_elements(self, losses: Tensor) -> Tensor:
        """The total of elementwise losses (M, C)."""
        return (losses * self.valid[:, None]).sum()


def _flat(values: Tensor) -> Tensor:
    return values.movedim(1, -1).reshape(-1, values.shape[1])


def _skipping(indices: Tensor, classes: int) -> Tensor:
    """int64, with torch's mark in place of ours; labels of whole images have none."""
    if indices.ndim == 1:
        return indices.long()
    ignored = IGNORE if classes <= IGNORE else IGNORE_16_BIT
    return indices.long().masked_fill(indices == ignored, SKIPPED)


def _cross_entropy(batch: _Batch, settings: LossSettings, weights: Tensor | None) -> Tensor:
    targets = batch.shares if batch.indices is None else batch.indices
    losses = F.cross_entropy(batch.logits, targets, weights, label_smoothing=settings.label_smoothing, reduction="none")
    return losses.sum()


def _focal(batch: _Batch, settings: LossSettings, weights: Tensor | None) -> Tensor:
    """Lin et al., Focal Loss for Dense Object Detection, 2017: the cross-entropy times (1 - p)^gamma.

    p is the probability of what is true. With gamma 0 it is cross_entropy, or bce where classes do not exclude each
    other.
    """
    if not batch.exclusive:
        losses = _bce_elements(batch, weights)
        probability = batch.logits.sigmoid()
        wrong = (batch.shares - probability).abs()
        return batch.over_elements(losses * _power(wrong, settings.gamma))
    log_probability = batch.logits.log_softmax(1)
    losses = -batch.shares * log_probability * _power(-log_probability.expm1(), settings.gamma)
    return (losses if weights is None else losses * weights).sum()


def _power(wrong: Tensor, gamma: float) -> Tensor:
    """`wrong` ** `gamma` with a finite slope everywhere: a gamma below 1 has none at 0."""
    return wrong.clamp(min=1e-6).pow(gamma)


def _bce(batch: _Batch, settings: LossSettings, weights: Tensor | None) -> Tensor:
    return batch.over_elements(_bce_elements(batch, weights))


def _bce_elements(batch: _Batch, weights: Tensor | None) -> Tensor:
    return F.binary_cross_entropy_with_logits(batch.logits, batch.shares, pos_weight=weights, reduction="none")


def _mse(batch: _Batch, settings: LossSettings, weights: Tensor | None) -> Tensor:
    return batch.over_elements(F.mse_loss(batch.logits, batch.shares, reduction="none"))


def _huber(batch: _Batch, settings: LossSettings, weights: Tensor | None) -> Tensor:
    return batch.over_elements(F.huber_loss(batch.logits, batch.shares, reduction="none", delta=settings.delta))


def _dice(batch: _Batch, settings: LossSettings, weights: Tensor | None) -> Tensor:
    """1 - (2 Σ p·t + smooth) / (Σ p + Σ t + smooth), the sums over an image's pixels, the mean over its classes.

    Milletari et al., V-Net, 2016, with the sums themselves below the line. Each image counts once, also against others
    of another worker; one without a pixel to learn from does not count.
    """
    probability = batch.logits.softmax(1) if batch.exclusive else batch.logits.sigmoid()
    classes = batch.logits.shape[1]
    valid = batch.valid.view(batch.images, batch.pixels, 1)
    predicted = probability.view(batch.images, batch.pixels, classes) * valid
    wanted = batch.shares.view(batch.images, batch.pixels, classes)
    overlap = 2 * (predicted * wanted).sum(1) + settings.smooth
    losses = 1 - overlap / (predicted.sum(1) + wanted.sum(1) + settings.smooth)
    return (losses.mean(1) * valid.any(1).squeeze(1)).sum()


def _by_class(batch: _Batch, weights: Tensor | None) -> Tensor:
    """What PyTorch's mean of a cross-entropy divides by: the classes' weights, or the count of what is valid."""
    if weights is None or batch.indices is None:
        return batch.valid.sum()
    return (weights[batch.indices.clamp(min=0)] * batch.valid).sum()


def _by_element(batch: _Batch, weights: Tensor | None) -> Tensor:
    return batch.valid.sum() * batch.logits.shape[1]


def _by_image(batch: _Batch, weights: Tensor | None) -> Tensor:
    return batch.valid.view(batch.images, batch.pixels).any(1).sum()


TOTALS: dict[LossName, Callable[[_Batch, LossSettings, Tensor | None], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
    "bce": _bce,
    "mse": _mse,
    "huber": _huber,
    "dice": _dice,
}
DIVISORS: dict[LossName, Callable[[_Batch, Tensor | None], Tensor]] = {
    "cross_entropy": _by_class,
    "focal": lambda batch, weights: (_by_class if batch.exclusive else _by_element)(batch, weights),
    "bce": _by_element,
    "mse": _by_element,
    "huber": _by_element,
    "dice": _by_image,
}
