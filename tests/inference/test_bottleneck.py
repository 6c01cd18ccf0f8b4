"""Which stage limited a run."""

import pytest

from vision_batch.inference.bottleneck import find_bottleneck
from vision_batch.inference.layout import Node, Resources, choose_layout
from vision_batch.inference.settings import ComputeSettings

NODE = Resources(nodes=(Node(cpus=9),))
JOINED = choose_layout(Resources(nodes=(Node(cpus=4),)), ComputeSettings(), shards=9, output_px=None)


def test_it_is_the_stage_whose_workers_were_busiest() -> None:
    found = find_bottleneck({"read": 1, "decode": 36, "model": 5, "wait": 9}, JOINED, wall_s=10)
    assert found is not None
    assert found.stage == "decode"
    assert found.shares == {"read": pytest.approx(0.05), "decode": pytest.approx(0.9), "model": pytest.approx(0.5)}
    assert found.sentence().startswith("decode (busy 90 % of the time")


def test_seconds_count_against_all_workers_of_a_stage() -> None:
    layout = choose_layout(
        NODE, ComputeSettings(layout="split", predictors=1, preprocessors=2), shards=9, output_px=None
    )
    found = find_bottleneck({"decode": 40, "model": 9}, layout, wall_s=10)
    assert found is not None
    assert found.shares["decode"] == pytest.approx(40 / (2 * layout.decode_threads * 10))
    assert found.stage == "model"


def test_nothing_is_said_of_a_run_without_a_steady_state() -> None:
    assert find_bottleneck({"model": 1}, JOINED, wall_s=0) is None
    assert find_bottleneck({}, JOINED, wall_s=10) is None
