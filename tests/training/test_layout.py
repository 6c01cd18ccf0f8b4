"""How many workers a train job gets, and what each has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.errors import SpecError
from vision_batch.inference.layout import Node, Place, Resources, room
from vision_batch.training.layout import TrainLayout, choose_train_layout
from vision_batch.training.settings import TrainComputeSettings

LAPTOP = Resources(nodes=(Node(cpus=2),))
GPU_HOST = Resources(nodes=(Node(cpus=16, gpus=2),))


def chosen(resources: Resources, patient: bool = False, **compute: Any) -> TrainLayout:
    return choose_train_layout(resources, TrainComputeSettings(**compute), patient=patient)


def refused(resources: Resources, **compute: Any) -> str:
    with pytest.raises(SpecError) as error:
        chosen(resources, **compute)
    return str(error.value)


def test_without_gpus_one_worker_has_all_cpus_of_its_node() -> None:
    layout = chosen(LAPTOP)
    assert (layout.workers, layout.cpus_per_worker, layout.gpus_per_worker, layout.name) == ((1, 1), 2, 0, "joined")
    assert chosen(Resources(nodes=(Node(cpus=0), Node(cpus=4), Node(cpus=4)))).workers == (2, 2)


def test_with_gpus_there_is_a_worker_for_each_that_has_a_cpu_beside_it() -> None:
    layout = chosen(GPU_HOST)
    assert (layout.workers, layout.cpus_per_worker, layout.gpus_per_worker) == ((2, 2), 8, 1)
    assert layout.decode_threads == 8
    assert chosen(Resources(nodes=(Node(cpus=1, gpus=4),))).workers == (1, 1)


def test_the_spec_decides_how_many() -> None:
    layout = chosen(LAPTOP, workers=2)
    assert (layout.workers, layout.cpus_per_worker) == ((2, 2), 1)
    assert chosen(GPU_HOST, gpus_per_worker=0, workers=3).cpus_per_worker == 5
    assert chosen(GPU_HOST, cpus_per_worker=3).decode_threads == 3


def test_an_elastic_training_takes_fewer_than_its_most() -> None:
    layout = chosen(LAPTOP, workers=(1, 8))
    assert (layout.workers, layout.cpus_per_worker) == ((1, 8), 1)
    assert "workers: found 3; expected at most 2" in refused(LAPTOP, workers=(3, 8))


def test_what_cannot_be_placed_is_refused_and_says_what_there_is() -> None:
    assert "compute.workers: found 3; expected at most 2: there are 2 CPUs, 1 CPU each" in refused(LAPTOP, workers=3)
    assert "compute.gpus_per_worker: found 1" in refused(LAPTOP, gpus_per_worker=1)
    assert "16 CPUs and 2 GPUs, 1 GPU and 9 CPUs each" in refused(GPU_HOST, workers=2, cpus_per_worker=9)
    assert "compute.layout" in refused(LAPTOP, workers=2, layout="split")
    assert "compute.preprocessors: found 9; expected at most 1" in refused(LAPTOP, workers=1, preprocessors=9)
    assert "no CPU" in refused(Resources(nodes=(Node(cpus=0),)))


def test_every_worker_has_a_preprocessor_of_its_own_or_the_training_would_wait_for_room_for_ever() -> None:
    four, eight = Resources(nodes=(Node(cpus=4),)), Resources(nodes=(Node(cpus=8),))
    layout = chosen(four, workers=2, layout="split")
    assert (layout.preprocessors, layout.cpus_per_preprocessor) == (2, 1)
    assert "compute.layout: found split with 4 CPUs and 3 workers" in refused(four, workers=3, layout="split")
    assert "compute.preprocessors: found 1; expected at least 2" in refused(eight, workers=2, preprocessors=1)


def test_a_cluster_may_be_asked_for_what_it_does_not_have_yet() -> None:
    layout = chosen(LAPTOP, patient=True, workers=4, gpus_per_worker=1)
    assert (layout.workers, layout.place) == ((4, 4), Place(cpus=1, gpus=1))


def test_cpus_of_other_nodes_decode_where_those_beside_a_gpu_cannot() -> None:
    resources = Resources(nodes=(Node(cpus=4, gpus=2), Node(cpus=32)))
    layout = chosen(resources)
    assert (layout.name, layout.workers, layout.cpus_per_worker) == ("split", (2, 2), 1)
    assert (layout.preprocessors, layout.cpus_per_preprocessor, layout.decode_threads) == (8, 4, 4)
    assert "cannot feed it" in layout.reason
    assert chosen(resources, layout="joined").cpus_per_worker == 2
    assert chosen(LAPTOP, preprocessors=1).name == "split"


@given(
    st.lists(st.builds(Node, cpus=st.integers(0, 9), gpus=st.integers(0, 4)), min_size=1, max_size=4),
    st.sampled_from(["auto", 1, 2, 5, (1, 3), (2, 2)]),
    st.sampled_from(["auto", 0, 1]),
    st.sampled_from(["auto", 1, 3]),
    st.sampled_from(["auto", "joined", "split"]),
)
def test_what_is_chosen_has_room(nodes: list[Node], workers: Any, gpus: Any, cpus: Any, layout: Any) -> None:
    resources = Resources(nodes=tuple(nodes))
    try:
        made = chosen(resources, workers=workers, gpus_per_worker=gpus, cpus_per_worker=cpus, layout=layout)
    except SpecError:
        return
    there = min(made.workers[1], room(resources, made.place))
    assert there >= made.workers[0]
    assert made.decode_threads >= 1
    reserved = there * made.cpus_per_worker + made.preprocessors * made.cpus_per_preprocessor
    assert reserved <= resources.cpus
    assert made.name == "joined" or made.preprocessors >= made.workers[0]
