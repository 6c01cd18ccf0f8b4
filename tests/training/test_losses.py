"""Losses: whatever the batch is cut into, their sums over their weights are PyTorch's own mean of the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vision_batch.errors import ModelError
from vision_batch.training.losses import IGNORE, IGNORE_16_BIT, Loss, LossTerm, combine, loss_for
from vision_batch.training.settings import LossSettings, TrainSettings

CLASSES = 4
few = settings(max_examples=15)
Cuts = Sequence[int]
seeds = st.integers(0, 2**31)
cuts = st.lists(st.integers(0, 7), max_size=3).map(lambda values: [0, *sorted(values), 7])
weights = st.none() | st.lists(st.floats(0.1, 5), min_size=CLASSES, max_size=CLASSES)


def cut_up(loss: Loss, outputs: Tensor, targets: Tensor, cuts: Cuts) -> tuple[Tensor, Tensor]:
    """The loss of 7 images on as many workers as there are pieces, some without any; and its gradient."""
    outputs = outputs.detach().requires_grad_()
    workers = [loss(outputs[start:stop], targets[start:stop]) for start, stop in pairwise(cuts)]
    for terms, (start, stop) in zip(workers, pairwise(cuts), strict=True):
        expected = torch.stack([term.weight for term in terms]).float()
        torch.testing.assert_close(loss.weights(targets[start:stop], CLASSES), expected)
    terms = [
        LossTerm(
            factor=same[0].factor,
            total=torch.stack([term.total for term in same]).sum(),
            weight=torch.stack([term.weight for term in same]).sum(),
        )
        for same in zip(*workers, strict=True)
    ]
    value = combine(terms)
    return value, torch.autograd.grad(value, outputs)[0]


def assert_is_mean(loss: Loss, mean: Callable[[Tensor], Tensor], outputs: Tensor, targets: Tensor, cuts: Cuts) -> None:
    value, gradient = cut_up(loss, outputs, targets, cuts)
    outputs = outputs.detach().requires_grad_()
    expected = mean(outputs)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, outputs)[0])


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one(name: str, class_weights: Sequence[float] | None = None, *, exclusive: bool = True, **keys: float) -> Loss:
    return Loss([LossSettings.model_validate({"name": name, **keys})], class_weights, exclusive=exclusive)


def as_tensor(values: Sequence[float] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.float64)


@few
@given(seeds, cuts, weights, st.floats(0, 0.9))
def test_cross_entropy_of_labels(seed: int, cuts: Cuts, weights: list[float] | None, smoothing: float) -> None:
    outputs = torch.randn(7, CLASSES, generator=rng(seed), dtype=torch.float64)
    targets = torch.randint(CLASSES, (7,), generator=rng(seed))
    assert_is_mean(
        one("cross_entropy", weights, label_smoothing=smoothing),
        lambda o: F.cross_entropy(o, targets, as_tensor(weights), label_smoothing=smoothing),
        outputs,
        targets,
        cuts,
    )


@few
@given(seeds, cuts, weights, st.floats(0, 0.9))
def test_cross_entropy_of_shares(seed: int, cuts: Cuts, weights: list[float] | None, smoothing: float) -> None:
    outputs = torch.randn(7, CLASSES, generator=rng(seed), dtype=torch.float64)
    targets = torch.rand(7, CLASSES, generator=rng(seed + 1), dtype=torch.float64).softmax(1)
    assert_is_mean(
        one("cross_entropy", weights, label_smoothing=smoothing),
        lambda o: F.cross_entropy(o, targets, as_tensor(weights), label_smoothing=smoothing),
        outputs,
        targets,
        cuts,
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@few
@given(seeds, cuts, weights, st.floats(0, 0.9), st.floats(0, 1))
def test_cross_entropy_of_masks(
    dtype: torch.dtype, seed: int, cuts: Cuts, weights: list[float] | None, smoothing: float, ignored: float
) -> None:
    outputs = torch.randn(7, CLASSES, 3, 5, generator=rng(seed), dtype=torch.float64)
    targets = masks(seed, ignored).to(dtype)
    loss = one("cross_entropy", weights, label_smoothing=smoothing)

    def mean(outputs: Tensor) -> Tensor:
        mean = F.cross_entropy(
            outputs, targets.long(), as_tensor(weights), ignore_index=IGNORE, label_smoothing=smoothing
        )
        return outputs.sum() * 0 if (targets == IGNORE).all() else mean  # PyTorch's mean of nothing is NaN

    assert_is_mean(loss, mean, outputs, targets, cuts)


def masks(seed: int, ignored: float) -> Tensor:
    """(7, 3, 5) of classes, a share of the pixels IGNORE."""
    classes = torch.randint(CLASSES, (7, 3, 5), generator=rng(seed))
    return classes.masked_fill(torch.rand(7, 3, 5, generator=rng(seed + 1)) < ignored, IGNORE)


@few
@given(seeds, cuts, weights)
def test_bce_of_any_number_of_labels(seed: int, cuts: Cuts, weights: list[float] | None) -> None:
    outputs = torch.randn(7, CLASSES, generator=rng(seed), dtype=torch.float64)
    targets = torch.rand(7, CLASSES, generator=rng(seed + 1), dtype=torch.float64)
    assert_is_mean(
        one("bce", weights, exclusive=False),
        lambda o: F.binary_cross_entropy_with_logits(o, targets, pos_weight=as_tensor(weights)),
        outputs,
        targets,
        cuts,
    )


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("bce", F.binary_cross_entropy_with_logits),
        ("mse", F.mse_loss),
        ("huber", lambda o, t: F.huber_loss(o, t, delta=0.5)),
    ],
)
@few
@given(seeds, cuts)
def test_elementwise_losses(name: str, mean: Callable[[Tensor, Tensor], Tensor], seed: int, cuts: Cuts) -> None:
    """Of numbers as they are; of class indices as 0 and 1; of masks only where there is a class."""
    loss = one(name, **({"delta": 0.5} if name == "huber" else {}))
    outputs = torch.randn(7, CLASSES, generator=rng(seed), dtype=torch.float64)
    numbers = torch.rand(7, CLASSES, generator=rng(seed + 1), dtype=torch.float64)
    assert_is_mean(loss, lambda o: mean(o, numbers), outputs, numbers, cuts)
    labels = torch.randint(CLASSES, (7,), generator=rng(seed))
    assert_is_mean(loss, lambda o: mean(o, F.one_hot(labels, CLASSES).double()), outputs, labels, cuts)
    outputs, mask = torch.randn(7, CLASSES, 3, 5, generator=rng(seed), dtype=torch.float64), masks(seed, 0.3)
    seen = mask != IGNORE
    ones = F.one_hot(mask[seen], CLASSES).double()
    assert_is_mean(loss, lambda o: mean(o.movedim(1, -1)[seen], ones), outputs, mask, cuts)


@few
@given(seeds, cuts, weights)
def test_focal_without_focus_is_what_it_focuses(seed: int, cuts: Cuts, weights: list[float] | None) -> None:
    outputs = torch.randn(7, CLASSES, generator=rng(seed), dtype=torch.float64)
    shares = torch.rand(7, CLASSES, generator=rng(seed + 1), dtype=torch.float64).softmax(1)
    labels = torch.randint(CLASSES, (7,), generator=rng(seed))
    for targets in (labels, shares):
        expected = cut_up(one("cross_entropy", weights), outputs, targets, [0, 7])
        torch.testing.assert_close(cut_up(one("focal", weights, gamma=0), outputs, targets, cuts), expected)
    expected = cut_up(one("bce", weights, exclusive=False), outputs, shares, [0, 7])
    torch.testing.assert_close(cut_up(one("focal", weights, exclusive=False, gamma=0), outputs, shares, cuts), expected)


@few
@given(seeds, cuts, st.floats(0, 5))
def test_focal_plays_down_what_is_easy(seed: int, cuts: Cuts, gamma: float) -> None:
    """Against its formula, written out in numpy."""
    outputs = torch.randn(7, CLASSES, generator=rng(seed), dtype=torch.float64)
    labels = torch.randint(CLASSES, (7,), generator=rng(seed))
    p = outputs.softmax(1).numpy()[np.arange(7), labels.numpy()]
    value, _ = cut_up(one("focal", gamma=gamma), outputs, labels, cuts)
    assert value.item() == pytest.approx(np.mean((1 - p) ** gamma * -np.log(p)))
    several = (torch.rand(7, CLASSES, generator=rng(seed)) < 0.5).double()
    q = np.where(several.numpy() == 1, outputs.sigmoid().numpy(), 1 - outputs.sigmoid().numpy())
    value, _ = cut_up(one("focal", exclusive=False, gamma=gamma), outputs, several, cuts)
    assert value.item() == pytest.approx(np.mean((1 - q) ** gamma * -np.log(q)))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("exclusive", [True, False])
def test_focal_has_a_slope_where_all_is_right(gamma: float, exclusive: bool) -> None:
    outputs = torch.tensor([[200.0, -200.0]], requires_grad=True)
    value = combine(one("focal", exclusive=exclusive, gamma=gamma)(outputs, torch.tensor([[1.0, 0.0]])))
    assert torch.autograd.grad(value, outputs)[0].abs().max() < 1e-3


@few
@given(seeds, cuts, st.floats(0, 1), st.floats(0.1, 10))
def test_dice_counts_each_image_once(seed: int, cuts: Cuts, ignored: float, smooth: float) -> None:
    """Against a plain loop over images and classes."""
    outputs = torch.randn(7, CLASSES, 3, 5, generator=rng(seed), dtype=torch.float64)
    targets = masks(seed, ignored)
    images = []
    for probability, mask in zip(outputs.softmax(1).numpy(), targets.numpy(), strict=True):
        seen = mask != IGNORE
        if seen.any():
            p, t = probability[:, seen], np.stack([mask[seen] == index for index in range(CLASSES)])
            images.append(np.mean(1 - (2 * (p * t).sum(1) + smooth) / (p.sum(1) + t.sum(1) + smooth)))
    value, _ = cut_up(one("dice", smooth=smooth), outputs, targets, cuts)
    assert value.item() == pytest.approx(np.mean(images) if images else 0)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "bce", "mse", "huber", "dice"])
def test_ignored_pixels_have_no_gradient(name: str) -> None:
    outputs = torch.randn(2, CLASSES, 3, 5, generator=rng(0), requires_grad=True)
    targets = torch.zeros(2, 3, 5, dtype=torch.uint8)
    targets[0, :, 2:] = IGNORE
    gradient = torch.autograd.grad(combine(one(name)(outputs, targets)), outputs)[0]
    assert (gradient[0, :, :, 2:] == 0).all()
    assert (gradient[0, :, :, :2] != 0).all()


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "bce", "mse", "huber", "dice"])
def test_no_images_and_no_pixels_are_a_loss_of_nothing(name: str) -> None:
    """Its total is 0 and has a gradient: a worker without images takes part in the step."""
    for images, mask in ((0, torch.zeros(0, 3, 5)), (2, torch.full((2, 3, 5), IGNORE))):
        outputs = torch.randn(images, CLASSES, 3, 5, requires_grad=True)
        (term,) = one(name, [1.0] * CLASSES)(outputs, mask.to(torch.uint8))
        assert (term.total.item(), term.weight.item(), combine([term]).item()) == (0, 0, 0)
        assert not torch.autograd.grad(term.total, outputs)[0].any()


def test_a_sum_of_losses_is_weighed_by_its_factors() -> None:
    outputs = torch.randn(3, CLASSES, 2, 2, generator=rng(0))
    targets = torch.zeros(3, 2, 2, dtype=torch.uint8)
    spec = {"epochs": 1, "loss": [{"name": "cross_entropy"}, {"name": "dice", "weight": 0.5}]}
    terms = loss_for(TrainSettings.model_validate(spec), "bce")(outputs, targets)
    ce, dice = combine(one("cross_entropy")(outputs, targets)), combine(one("dice")(outputs, targets))
    torch.testing.assert_close(combine(terms), ce + 0.5 * dice)
    torch.testing.assert_close(combine(terms, [term.weight * 2 for term in terms]), (ce + 0.5 * dice) / 2)


def test_without_a_loss_in_the_spec_it_is_the_tasks_own() -> None:
    outputs, targets = torch.randn(3, CLASSES, generator=rng(0)), torch.tensor([0, 1, 2])
    value = combine(loss_for(TrainSettings(epochs=1), "cross_entropy")(outputs, targets))
    torch.testing.assert_close(value, F.cross_entropy(outputs, targets))


def test_class_255_of_many_classes_is_a_class() -> None:
    outputs = torch.randn(1, 300, 1, 3, generator=rng(0))
    (term,) = one("cross_entropy")(outputs, torch.tensor([[[255, 7, IGNORE_16_BIT]]]))
    assert term.weight.item() == 2
    (term,) = one("cross_entropy")(torch.randn(2, 300), torch.tensor([255, 7]))
    assert term.weight.item() == 2


def test_coarse_logits_are_resized_to_the_mask() -> None:
    outputs, targets = torch.randn(2, CLASSES, 2, 2, generator=rng(0)), torch.zeros(2, 8, 8, dtype=torch.uint8)
    fine = F.interpolate(outputs, size=(8, 8), mode="bilinear")
    torch.testing.assert_close(
        combine(one("cross_entropy")(outputs, targets)), combine(one("cross_entropy")(fine, targets))
    )


def test_half_precision_is_computed_in_full() -> None:
    outputs, targets = torch.randn(7, CLASSES, generator=rng(0)).bfloat16(), torch.zeros(7, dtype=torch.long)
    (term,) = one("cross_entropy")(outputs, targets)
    assert term.total.dtype == torch.float32
    torch.testing.assert_close(combine([term]), F.cross_entropy(outputs.float(), targets))


@pytest.mark.parametrize(
    ("outputs", "targets"), [((2, 4), (3,)), ((2, 4, 5), (2, 5)), ((2, 4), (2, 3)), ((2, 4, 8, 8), (3, 8, 8))]
)
def test_shapes_that_do_not_go_together_are_named(outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
    is_dense = len(targets) == 2 and len(outputs) == 2
    with pytest.raises(ModelError, match="do not go together"):
        one("mse")(torch.zeros(outputs), torch.zeros(targets, dtype=torch.float32 if is_dense else torch.long))
    with pytest.raises(ModelError, match="3 weights, the model answers 4 classes"):
        one("cross_entropy", [1.0, 1.0, 1.0])(torch.zeros(1, 4), torch.zeros(1, dtype=torch.long))


@few
@given(seeds)
def test_the_order_of_memory_changes_nothing(seed: int) -> None:
    outputs = torch.randn(7, CLASSES, 3, 5, generator=rng(seed))
    last = outputs.contiguous(memory_format=torch.channels_last)
    for name in ("cross_entropy", "focal", "dice"):
        torch.testing.assert_close(
            combine(one(name)(outputs, masks(seed, 0.2))), combine(one(name)(last, masks(seed, 0.2)))
        )
