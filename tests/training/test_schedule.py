"""The curves of the learning rate: torch's own, and the same from wherever a training goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, StepLR

from vision_batch.training.schedule import build_schedule, learning_rate_factor, move_schedule
from vision_batch.training.settings import LearningRateSettings

EPOCHS, STEPS = 6, 10
CURVES = {
    "constant": {"name": "constant"},
    "step": {"name": "step", "every_epochs": 2, "factor": 0.3},
    "cosine": {"name": "cosine", "final_factor": 0.01},
    "one_cycle": {"name": "one_cycle", "final_factor": 0.001},
    "warm step": {"name": "step", "every_epochs": 1.5, "factor": 0.3, "warmup_epochs": 1.2, "start_factor": 0.1},
    "warm cosine": {"name": "cosine", "warmup_epochs": 1},
}


def optimizer() -> Optimizer:
    return SGD(nn.Linear(1, 1).parameters(), lr=0.5)


def rates(schedule: LRScheduler, steps: int) -> list[float]:
    """The rate of each optimizer step."""
    found = []
    for _ in range(steps):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return found


def built(name: str, **more: float) -> LRScheduler:
    return build_schedule(optimizer(), LearningRateSettings.model_validate(CURVES[name] | more), STEPS, EPOCHS)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("constant", lambda o: ConstantLR(o, factor=1)),
        ("step", lambda o: StepLR(o, 2 * STEPS, 0.3)),
        ("cosine", lambda o: CosineAnnealingLR(o, EPOCHS * STEPS, eta_min=0.01 * 0.5)),
        (
            "one_cycle",
            lambda o: OneCycleLR(
                o, 0.5, EPOCHS * STEPS, pct_start=0.3, div_factor=25, final_div_factor=40, cycle_momentum=False
            ),
        ),
    ],
)
def test_the_curves_are_those_of_torch(name: str, reference: Callable[[Optimizer], LRScheduler]) -> None:
    assert rates(built(name), EPOCHS * STEPS) == pytest.approx(rates(reference(optimizer()), EPOCHS * STEPS), abs=1e-12)


def test_a_one_cycle_rises_for_its_warm_up() -> None:
    found = rates(built("one_cycle", warmup_epochs=2, start_factor=0.1), EPOCHS * STEPS)
    reference = OneCycleLR(
        optimizer(),
        0.5,
        EPOCHS * STEPS,
        pct_start=2 / EPOCHS,
        div_factor=10,
        final_div_factor=100,
        cycle_momentum=False,
    )
    assert found == pytest.approx(rates(reference, EPOCHS * STEPS), abs=1e-12)


def test_a_warm_up_comes_before_the_curve() -> None:
    warm = rates(built("warm step"), EPOCHS * STEPS)
    line = rates(LinearLR(optimizer(), start_factor=0.1, total_iters=12), 12)
    curve = rates(StepLR(optimizer(), 15, 0.3), EPOCHS * STEPS - 12)
    assert warm == pytest.approx(line + curve, abs=1e-12)
    cosine = rates(built("warm cosine"), EPOCHS * STEPS)
    assert cosine[STEPS] == 0.5
    assert cosine[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 49 / 50)) / 2)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("done", [1, 12, 37, 59])
def test_a_resumed_schedule_goes_on_as_if_nothing_was(name: str, done: int) -> None:
    alone = rates(built(name), EPOCHS * STEPS)
    first = built(name)
    rates(first, done)
    state = json.loads(json.dumps(first.state_dict()))
    by_state, by_step = built(name), built(name)
    by_state.load_state_dict(state)
    by_state.optimizer.load_state_dict(first.optimizer.state_dict())
    move_schedule(by_step, done)
    for resumed in (by_state, by_step):
        assert rates(resumed, EPOCHS * STEPS - done) == alone[done:]


@given(st.integers(1, 40), st.integers(1, 5), st.sampled_from(sorted(CURVES)), st.floats(0, 1))
def test_every_factor_is_a_share_of_the_rate(steps: int, epochs: int, name: str, warmup: float) -> None:
    """Also for an epoch of one step, and beyond the last step."""
    warmup = warmup * epochs * 0.99
    document = CURVES[name] | ({"warmup_epochs": warmup} if warmup > 0 else {})
    if not warmup:
        document = {key: value for key, value in document.items() if key not in ("warmup_epochs", "start_factor")}
    settings = LearningRateSettings.model_validate(document)
    factors = [
        learning_rate_factor(step, settings=settings, steps_per_epoch=steps, epochs=epochs)
        for step in range(steps * epochs + 3)
    ]
    assert all(0 <= factor <= 1 for factor in factors)
    assert len(set(factors[-4:])) == 1


def test_a_curve_depends_on_epochs_not_on_their_steps() -> None:
    settings = LearningRateSettings.model_validate(CURVES["warm cosine"])
    few, many = (
        learning_rate_factor(3 * steps, settings=settings, steps_per_epoch=steps, epochs=EPOCHS) for steps in (10, 40)
    )
    assert few == pytest.approx(many)
