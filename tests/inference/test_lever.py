"""What would make a run faster: only what relieves its limit, and settings of the spec before what must be bought."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.inference.test_load import DEMANDS
from vision_batch.inference.layout import Node, Resources
from vision_batch.inference.lever import LEAST_GAIN, Lever, Setting, best_lever
from vision_batch.inference.load import Demand, pace_on
from vision_batch.inference.settings import ComputeSettings


def setting(cpus: int, gpus: int = 0, **compute: object) -> Setting:
    node = Node(cpus=cpus, gpus=gpus, memory_bytes=64 << 30)
    return Setting(resources=Resources(nodes=(node,)), compute=ComputeSettings.model_validate(compute), shards=100)


def demand(cpus: float, **threads: float) -> Demand:
    return Demand(cpus=cpus, cpus_by_stage=threads, threads_by_stage=threads, present=1.0)


SETTINGS = st.sampled_from(
    [
        setting(2),
        setting(8, gpus=1),
        setting(8, predictors=1),
        setting(6, layout="split"),
        setting(16, gpus=2, preprocessors=4),
    ]
)


@given(DEMANDS, SETTINGS)
def test_settings_that_are_advised_lead_to_a_layout_that_carries_as_much_as_promised(
    demand: Demand, chosen: Setting
) -> None:
    lever = best_lever(demand, chosen)
    if lever is None:
        return
    assert lever.gain >= LEAST_GAIN
    if lever.settings is not None:
        compute = chosen.compute.model_copy(update=lever.settings)
        later = Setting(resources=chosen.resources, compute=compute, shards=chosen.shards).layout()
        assert pace_on(later, demand) >= lever.gain * pace_on(chosen.layout(), demand) * 0.999


def test_cpus_are_no_help_where_the_accelerator_is_busy() -> None:
    lever = best_lever(demand(2.0, read=0.2, decode=1.0, model=1.0), setting(8, gpus=1))
    assert lever is not None
    assert "GPU" in lever.change


def test_of_changes_that_gain_the_same_the_smallest_is_told() -> None:
    lever = best_lever(demand(4.0, read=0.1, decode=0.1, model=1.0), setting(8, predictors=1))
    assert lever is not None
    assert lever.settings == {"predictors": 2}


def test_nothing_is_told_where_everything_is_equally_busy_and_nothing_can_be_bought_alone() -> None:
    everything = demand(7.9, read=0.1, decode=7.9, model=0.99)
    assert best_lever(everything, setting(8, gpus=1)) is None


def test_a_gain_without_bound_is_not_told_in_figures() -> None:
    assert Lever(change="x", gain=70.0).sentence() == "x would make it more than 10 times as fast"
