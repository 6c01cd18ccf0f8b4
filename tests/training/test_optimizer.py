"""What decays and what does not, L1 that counts once, and gradients clipped together."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vision_batch.errors import ModelError
from vision_batch.training.losses import LossTerm, combine
from vision_batch.training.optimizer import build_optimizer, clip_gradients, l1_term
from vision_batch.training.settings import OptimizerSettings


class Attention(nn.Module):
    """A parameter of its own, a plain layer normalisation over several dimensions, tied weights, one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 4, 8))
        self.scale = nn.Parameter(torch.ones(8))
        self.convolution = nn.Conv2d(3, 8, 3)
        self.batch_norm = nn.BatchNorm2d(8)
        self.layer_norm = nn.LayerNorm([8, 4])
        self.group_norm = nn.GroupNorm(2, 8)
        self.linear = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.linear.weight
        self.frozen = nn.Linear(8, 8)
        self.frozen.requires_grad_(False)


def names(module: nn.Module, group: dict[str, list[nn.Parameter]]) -> set[str]:
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    return {known[id(parameter)] for parameter in group["params"]}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_biases_and_normalisations_do_not_decay(name: str) -> None:
    module = Attention()
    settings = OptimizerSettings.model_validate({"name": name, "lr": 0.5, "weight_decay": 0.1})
    decaying, others = build_optimizer(module, settings).param_groups
    assert names(module, decaying) == {"position", "convolution.weight", "linear.weight"}
    assert (decaying["weight_decay"], others["weight_decay"], decaying["lr"]) == (0.1, 0, 0.5)
    everything = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert names(module, others) == everything - names(module, decaying)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"name": "sgd"}, {"momentum": 0.9, "nesterov": False}),
        ({"name": "sgd", "momentum": 0.0}, {"momentum": 0.0}),
        ({"name": "sgd", "nesterov": True}, {"momentum": 0.9, "nesterov": True}),
        ({"name": "adam", "betas": [0.8, 0.9], "eps": 1e-6}, {"betas": (0.8, 0.9), "eps": 1e-6}),
        ({"name": "adamw"}, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ({"name": "rmsprop", "alpha": 0.9}, {"alpha": 0.9, "momentum": 0}),
    ],
)
def test_each_optimizer_gets_its_settings(document: dict[str, object], expected: dict[str, object]) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), OptimizerSettings.model_validate(document))
    assert type(optimizer).__name__.lower() == document["name"]
    assert {key: optimizer.defaults[key] for key in expected} == expected


def test_a_model_without_anything_to_train_is_refused() -> None:
    with pytest.raises(ModelError, match="nothing to train"):
        build_optimizer(nn.Flatten(), OptimizerSettings())
    (group,) = build_optimizer(nn.BatchNorm2d(3), OptimizerSettings(weight_decay=0.1)).param_groups
    assert group["weight_decay"] == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_l1_counts_once_however_many_workers_there_are(workers: int) -> None:
    module = Attention()
    expected = 0.01 * sum(
        module.get_parameter(name).abs().sum() for name in ("position", "convolution.weight", "linear.weight")
    )
    terms = [l1_term(module, OptimizerSettings(l1=0.01)) for _ in range(workers)]
    assert all(term is not None for term in terms)
    together = LossTerm(
        factor=terms[0].factor,
        total=torch.stack([term.total for term in terms]).sum(),
        weight=torch.stack([term.weight for term in terms]).sum(),
    )
    torch.testing.assert_close(combine([together]), expected)
    combine([together]).backward()
    torch.testing.assert_close(module.linear.weight.grad, 0.01 * module.linear.weight.sign())
    assert module.linear.bias.grad is None


def test_without_l1_there_is_no_term() -> None:
    assert l1_term(nn.Linear(2, 2), OptimizerSettings()) is None
    assert l1_term(nn.BatchNorm2d(2), OptimizerSettings(l1=1.0)) is None


def test_gradients_are_clipped_by_their_norm_together() -> None:
    module = nn.Linear(2, 1)
    module.weight.grad, module.bias.grad = torch.tensor([[2.0, 4.0]]), torch.tensor([4.0])
    assert clip_gradients(module, None).item() == 6
    assert clip_gradients(module, 3.0).item() == 6
    torch.testing.assert_close(module.weight.grad, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(module.bias.grad, torch.tensor([2.0]))
