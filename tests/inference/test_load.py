"""What a run's work took, and what that keeps busy in a layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.inference.layout import Layout
from vision_batch.inference.load import Demand, loads_on, measure_demand, pace_on
from vision_batch.inference.stopwatch import Lap, Spent

JOINED = Layout(
    name="joined",
    reason="the test asks for it",
    predictors=2,
    cpus_per_predictor=4,
    gpus_per_predictor=0,
    preprocessors=0,
    cpus_per_preprocessor=0,
    decode_threads=4,
    batch_rows=8,
)
SPLIT = replace(JOINED, name="split", cpus_per_predictor=1, preprocessors=3, cpus_per_preprocessor=2, decode_threads=2)
STAGES = ("read", "decode", "preprocess", "copy", "model", "postprocess", "write", "hold")
THREADS = st.floats(0.01, 8)
DEMANDS = st.builds(
    Demand,
    cpus=THREADS,
    cpus_by_stage=st.fixed_dictionaries(dict.fromkeys(STAGES, THREADS)),
    threads_by_stage=st.fixed_dictionaries(dict.fromkeys(STAGES, THREADS)),
    present=st.just(1.0),
)


def test_a_worker_counts_for_the_time_that_it_was_there() -> None:
    long = Lap(wall_s=8.0, cpu_s=8.0, stages={"read": Spent(2.0, 1.0), "model": Spent(4.0, 4.0)})
    short = Lap(wall_s=2.0, cpu_s=2.0, stages={"read": Spent(0.5, 0.25), "model": Spent(1.0, 1.0)})
    demand = measure_demand({"a": long, "b": short}, JOINED, wall_s=10.0)
    assert demand is not None
    assert demand.cpus == pytest.approx(2.0)
    assert demand.threads_by_stage == {"read": pytest.approx(0.5), "model": pytest.approx(1.0)}
    assert demand.present == pytest.approx(0.5)


def test_in_the_split_layout_those_who_do_the_same_are_averaged() -> None:
    laps = {
        "preprocessor": Lap(wall_s=10.0, cpu_s=20.0, stages={"read": Spent(1.0, 0.5), "decode": Spent(15.0, 14.0)}),
        "predictor": Lap(wall_s=5.0, cpu_s=1.0, stages={"wait": Spent(1.0, 0.0), "model": Spent(4.0, 1.0)}),
        "gatherer": Lap(wall_s=10.0, cpu_s=1.0, stages={"write": Spent(2.0, 0.5)}),
    }
    demand = measure_demand(laps, SPLIT, wall_s=10.0)
    assert demand is not None
    assert demand.cpus == pytest.approx(3 * 2.0 + 2 * 0.2 + 0.1)
    loads = loads_on(SPLIT, demand)
    assert (loads["decoders"].used, loads["decoders"].of) == (pytest.approx(3 * 1.5), 6)
    assert loads["predictors"].share == pytest.approx(0.8)
    assert loads["writers"].share == pytest.approx(0.2)


def test_an_accelerator_copies_while_it_computes() -> None:
    demand = Demand(cpus=1.0, cpus_by_stage={}, threads_by_stage={"copy": 0.5, "model": 0.9}, present=1.0)
    assert loads_on(JOINED, demand)["predictors"].used == pytest.approx(1.4)
    assert loads_on(replace(JOINED, gpus_per_predictor=1.0), demand)["predictors"].used == pytest.approx(0.9)


@given(DEMANDS, st.sampled_from([JOINED, SPLIT, replace(JOINED, decode_threads=0)]))
def test_no_pace_leaves_anything_more_than_busy(demand: Demand, layout: Layout) -> None:
    pace = pace_on(layout, demand)
    shares = [pace * load.share for load in loads_on(layout, demand).values()]
    assert max(shares) == pytest.approx(1.0)


@given(DEMANDS)
def test_what_takes_no_time_slows_nothing_down(demand: Demand) -> None:
    for stages in (["read"], ["decode", "preprocess"], ["copy", "model"], ["hold", "write"]):
        assert pace_on(JOINED, demand.without(stages, cpus=True)) >= pace_on(JOINED, demand)
