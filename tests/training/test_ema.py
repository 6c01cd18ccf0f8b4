"""The moving average against a plain loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vision_batch.training.ema import Ema


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def wander(module: nn.Module, step: int) -> None:
    """Some training: every parameter and buffer moves."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.add_(1 if not tensor.is_floating_point() else torch.randn(tensor.shape, generator=generator))


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_it_is_the_average_of_a_plain_loop(decay: float) -> None:
    module = network()
    ema = Ema(module, decay)
    expected: dict[str, torch.Tensor] = {}
    for step in range(20):
        wander(module, step)
        ema.update(module)
        keep = 0.0 if step == 0 else min(decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            new = value if not value.is_floating_point() or not keep else keep * expected[name] + (1 - keep) * value
            expected[name] = new.clone()
    assert ema.updates == 20
    for name, value in ema.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_the_module_itself_is_left_alone_and_the_average_wants_no_gradients() -> None:
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    ema = Ema(module, 0.9)
    ema.update(module)
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.data_ptr() != ema.module.state_dict()[name].data_ptr()


def test_a_resumed_average_goes_on_bit_for_bit() -> None:
    module = network()
    alone = Ema(module, 0.9)
    resumed = alone
    for step in range(12):
        if step == 5:
            resumed = Ema(network(), 0.9)
            resumed.module.load_state_dict(alone.module.state_dict())
            resumed.resume_at(alone.updates)
        wander(module, step)
        alone.update(module)
        if resumed is not alone:
            resumed.update(module)
    for name, value in alone.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name


def test_before_the_first_update_it_holds_what_it_was_made_of() -> None:
    module = network()
    assert torch.equal(Ema(module, 0.9).module[0].weight, module[0].weight)
