"""Which actors a run places where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.errors import SpecError
from vision_batch.inference.layout import Resources, choose_layout
from vision_batch.inference.settings import ComputeSettings


def test_a_laptop_reads_decodes_and_predicts_in_one_process() -> None:
    layout = choose_layout(Resources(cpus=2), ComputeSettings())
    assert (layout.name, layout.predictors, layout.decode_threads) == ("joined", 1, 2)


def test_many_cpus_make_several_predictors() -> None:
    layout = choose_layout(Resources(cpus=32), ComputeSettings())
    assert (layout.predictors, layout.cpus_per_predictor, layout.gpus_per_predictor) == (8, 4, 0)


def test_every_gpu_has_one_predictor_with_its_share_of_cpus() -> None:
    layout = choose_layout(Resources(cpus=64, gpus=4, gpu_node_cpus=64), ComputeSettings())
    assert (layout.name, layout.predictors, layout.gpus_per_predictor, layout.decode_threads) == ("joined", 4, 1, 16)


def test_cpu_nodes_feed_gpus_that_have_too_few_cpus_beside_them() -> None:
    layout = choose_layout(Resources(cpus=40, gpus=4, gpu_node_cpus=8), ComputeSettings())
    assert layout.name == "split"
    assert layout.preprocessors * layout.cpus_per_preprocessor + layout.predictors <= 40
    assert "cannot feed" in layout.reason


def test_fractions_of_a_gpu_share_it() -> None:
    layout = choose_layout(Resources(cpus=16, gpus=2, gpu_node_cpus=16), ComputeSettings(gpus_per_predictor=0.5))
    assert (layout.predictors, layout.gpus_per_predictor) == (4, 0.5)


def test_what_the_spec_says_wins() -> None:
    compute = ComputeSettings(layout="split", batch_size=7, preprocessors=2, predictors=1)
    layout = choose_layout(Resources(cpus=8), compute)
    assert (layout.name, layout.batch_rows, layout.preprocessors, layout.predictors) == ("split", 7, 2, 1)


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (ComputeSettings(predictors=3), "at most 2"),
        (ComputeSettings(gpus_per_predictor=1), "at most 0"),
        (ComputeSettings(layout="split", predictors=2), "use layout: joined"),
        (ComputeSettings(preprocessors=2), "at most 1"),
    ],
)
def test_what_cannot_be_placed_is_refused(compute: ComputeSettings, expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        choose_layout(Resources(cpus=2), compute)


@given(st.integers(2, 512), st.integers(0, 32), st.data())
def test_no_layout_asks_for_more_than_there_is(cpus: int, gpus: int, data: st.DataObject) -> None:
    beside = data.draw(st.integers(min(cpus, gpus), cpus)) if gpus else 0
    resources = Resources(cpus=cpus, gpus=gpus, gpu_node_cpus=beside)
    layout = choose_layout(resources, ComputeSettings())
    reserved = layout.predictors * layout.cpus_per_predictor + layout.preprocessors * layout.cpus_per_preprocessor
    assert reserved <= max(cpus, layout.predictors)
    assert layout.predictors * layout.gpus_per_predictor <= gpus
    assert layout.predictors >= 1


def test_no_more_readers_than_shards() -> None:
    joined = choose_layout(Resources(cpus=32), ComputeSettings())
    assert joined.for_shards(3).predictors == 3
    split = choose_layout(Resources(cpus=32), ComputeSettings(layout="split"))
    assert split.for_shards(1).preprocessors == 1
    assert split.for_shards(1).predictors == split.predictors
