"""Which stage limited a run, and what would help: the advice must relieve the limit, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from vision_batch.inference.bottleneck import Bottleneck, find_bottleneck
from vision_batch.inference.layout import Node, Resources
from vision_batch.inference.lever import Setting
from vision_batch.inference.settings import ComputeSettings
from vision_batch.inference.stopwatch import Lap, Spent

WALL_S = 10.0


def lap(cpus: float, **shares: float | tuple[float, float]) -> Lap:
    """A worker that took so many CPUs, and in each stage so many threads, or threads and CPUs, for WALL_S."""
    both = {stage: share if isinstance(share, tuple) else (share, share) for stage, share in shares.items()}
    stages = {stage: Spent(WALL_S * threads, WALL_S * used) for stage, (threads, used) in both.items()}
    return Lap(wall_s=WALL_S, cpu_s=WALL_S * cpus, stages=stages)


def setting(cpus: int, gpus: int = 0, shards: int = 100, **compute: Any) -> Setting:
    memory_bytes = 4 * cpus << 30
    node = Node(cpus=cpus, gpus=gpus, memory_bytes=memory_bytes)
    return Setting(resources=Resources(nodes=(node,)), compute=ComputeSettings(**compute), shards=shards)


def found(laps: Mapping[str, Lap], chosen: Setting, wall_s: float = WALL_S) -> Bottleneck:
    bottleneck = find_bottleneck(laps, chosen, wall_s)
    assert bottleneck is not None
    return bottleneck


def test_where_every_core_does_everything_the_cores_limit_and_the_largest_stage_is_named() -> None:
    worker = lap(0.96, read=0.1, decode=(1.3, 0.65), preprocess=(0.3, 0.15), model=0.1, write=(0.1, 0.01))
    it = found({"a": worker, "b": worker}, setting(cpus=2))
    assert it.stage == "decode"
    assert it.sentence() == (
        "decode: 1.9 of 2 CPUs were busy, 68 % of that with it; 2 more CPUs would make it up to 2.0 times as fast"
    )


def test_what_the_model_takes_of_the_cores_a_gpu_would_save() -> None:
    worker = lap(0.96, read=0.05, decode=(0.2, 0.1), model=(0.9, 0.8), postprocess=0.05)
    it = found({"a": worker, "b": worker}, setting(cpus=2))
    assert it.stage == "model"
    assert it.lever is not None
    assert it.lever.change == "a GPU for the model"


def test_a_gpu_that_waits_for_the_decoders_wants_more_cpus() -> None:
    worker = lap(7.8, read=0.3, decode=6.0, preprocess=1.7, wait=1.2, model=0.39, postprocess=0.05)
    it = found({"a": worker}, setting(cpus=8, gpus=1))
    assert it.sentence() == (
        "decode: the model waited 61 % of the time, and 7.8 of 8 CPUs were busy, 77 % of that with it; "
        "11 more CPUs would make it up to 2.4 times as fast"
    )


def test_a_model_that_waits_for_something_else_than_cpus_wants_more_predictors() -> None:
    worker = lap(0.3, read=0.05, decode=0.2, wait=0.1, model=(0.97, 0.02), postprocess=0.03)
    it = found({"a": worker}, setting(cpus=4, predictors=1))
    assert it.stage == "model"
    assert it.sentence().endswith("compute.predictors: 4 would make it up to 4.0 times as fast")
    assert it.lever is not None
    assert it.lever.settings == {"predictors": 4}


def test_no_more_predictors_are_advised_than_there_are_shards_or_memory_for() -> None:
    worker = lap(0.3, read=0.05, decode=0.2, wait=0.1, model=(0.97, 0.02), postprocess=0.03)
    two = found({"a": worker}, setting(cpus=4, predictors=1, shards=2)).lever
    assert two is not None
    assert two.settings == {"predictors": 2}
    one = found({"a": worker}, setting(cpus=4, predictors=1, shards=1)).lever
    assert one is None
    small = Node(cpus=4, memory_bytes=3 << 30)
    tight = Setting(resources=Resources(nodes=(small,)), compute=ComputeSettings(predictors=1), shards=9)
    held = found({"a": worker}, tight).lever
    assert held is None or held.settings is None


def test_one_shard_is_too_few_for_many_cpus() -> None:
    worker = lap(0.9, read=0.05, decode=(0.9, 0.8), model=0.05, postprocess=0.03)
    it = found({"a": worker}, setting(cpus=4, predictors=4, shards=1))
    assert it.stage != "shards"


def test_a_busy_gpu_wants_more_gpus_and_no_cpus() -> None:
    worker = lap(3.0, read=0.3, decode=2.0, wait=0.1, copy=0.1, model=0.98, postprocess=0.2)
    it = found({"a": worker}, setting(cpus=8, gpus=1))
    assert it.stage == "model"
    assert it.sentence().endswith("3 more GPUs would make it up to 2.6 times as fast")


def test_slow_input_wants_to_be_read_by_more_at_once() -> None:
    worker = lap(0.2, read=(1.8, 0.05), decode=0.1, wait=0.05, model=0.05, postprocess=0.02)
    it = found({"a": worker}, setting(cpus=4, predictors=1))
    assert it.stage == "read"
    assert "90 % of the time for which shards are in work, 2 at once" in it.sentence()
    assert it.lever is not None
    assert it.lever.settings == {"predictors": 4}


def test_slow_input_that_nobody_else_could_read_wants_another_storage() -> None:
    worker = lap(0.2, read=(1.8, 0.05), decode=0.1, preprocess=0.02, model=0.05, postprocess=0.02)
    it = found({"a": worker, "b": worker}, setting(cpus=2))
    assert (it.stage, it.lever and it.lever.change) == ("read", "a faster or nearer input storage")


def test_slow_output_wants_another_storage() -> None:
    worker = lap(0.2, read=0.05, decode=0.1, model=0.05, postprocess=0.02, write=(1.9, 0.05), hold=1.8)
    it = found({"a": worker, "b": worker}, setting(cpus=2))
    assert (it.stage, it.lever and it.lever.change) == ("write", "a faster or nearer output storage")


def test_in_the_split_layout_each_kind_of_actor_has_its_own_time() -> None:
    chosen = setting(cpus=4, layout="split", predictors=1, preprocessors=1)
    laps = {
        "preprocessor": lap(0.4, read=0.2, decode=(0.5, 0.2), preprocess=(3.4, 0.1), wait=0.7),
        "predictor": lap(0.1, wait=0.7, model=0.2, postprocess=0.1),
        "gatherer": lap(0.1, write=0.1),
    }
    it = found(laps, chosen)
    assert it.stage == "preprocess"
    assert (
        "the model waited 80 % of the time, and 3.9 of 4 threads that decode and 0.6 of 4 CPUs were busy"
        in it.sentence()
    )
    assert it.lever is not None
    assert it.lever.settings == {"layout": "joined", "predictors": "auto", "preprocessors": "auto"}


def test_predictors_that_have_nothing_left_to_do_want_smaller_shards() -> None:
    worker = lap(0.9, read=0.05, decode=(1.4, 0.8), model=0.1, postprocess=0.03)
    it = found({"a": worker}, setting(cpus=4), wall_s=12.0)
    assert it.stage == "shards"
    assert "had nothing to do for 79 % of the time" in it.sentence()


def test_where_nothing_is_busy_no_stage_is_blamed() -> None:
    worker = lap(0.4, read=0.05, decode=0.2, model=0.1, postprocess=0.03)
    it = found({"a": worker, "b": worker}, setting(cpus=2))
    assert it.stage == "no stage"
    assert it.sentence().endswith("nothing alone would help much")


@pytest.mark.parametrize("wall_s", [0.0, 3.0])
def test_nothing_is_said_of_a_run_without_a_steady_state(wall_s: float) -> None:
    assert find_bottleneck({"a": lap(1.0, read=1.0, model=1.0)}, setting(cpus=1), wall_s) is None


def test_nothing_is_said_where_nothing_was_predicted() -> None:
    assert find_bottleneck({"a": lap(1.0, read=1.0)}, setting(cpus=1), WALL_S) is None
    assert find_bottleneck({}, setting(cpus=1), WALL_S) is None


def test_a_model_that_limits_the_split_layout_may_have_all_cpus_in_the_joined_one() -> None:
    laps = {
        "preprocessor": lap(0.3, read=0.1, decode=(0.3, 0.2), wait=0.5),
        "predictor": lap(0.1, wait=0.05, model=(0.95, 0.05), postprocess=0.02),
        "gatherer": lap(0.1, write=0.1),
    }
    it = found(laps, setting(cpus=2, layout="split", predictors=1)).lever
    assert it is not None
    assert it.sentence() == "compute.layout: joined, compute.predictors: auto would make it up to 2.0 times as fast"
