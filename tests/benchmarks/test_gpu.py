"""The GPU benchmark itself, with small networks on a CPU."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.benchmarks.gpu import CASES, MEASUREMENTS, BusySamples, OnGpu
from tests.benchmarks.gpu_training import MEASUREMENT as TRAINING
from tests.benchmarks.gpu_training import TrainingOnGpu
from tests.benchmarks.measurement import CannotMeasureError
from tests.benchmarks.networks import build

SMALL = [
    replace(case, small=True, size_px=size, preprocess={"resize_px": [size, size]})
    for case, size in zip(CASES, (32, 32, 64), strict=True)
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.network)
def test_model_rates_are_taken_for_each_batch_size(case: OnGpu) -> None:
    with torch.inference_mode():
        assert len(build(case.network, small=True)(torch.zeros(2, 3, case.size_px, case.size_px))) == 2
    rates = case.model_rates()
    assert list(rates) == [8, 16]
    assert all(rate > 0 for rate in rates.values())


def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    for measurement in (*MEASUREMENTS, TRAINING):
        with pytest.raises(CannotMeasureError, match="no CUDA device"):
            next(measurement.rounds(tmp_path, 10))


def test_busy_shares_are_those_between_two_moments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nwhile true; do echo 50; echo '[N/A]'; echo 100; sleep 0.05; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    start = time.time()
    with BusySamples() as samples:
        while not samples.between(start, time.time()):
            time.sleep(0.02)
    assert set(samples.between(start, time.time())) <= {0.5, 1.0}
    assert samples.between(0, start) == []


@pytest.mark.slow
@pytest.mark.ray
def test_a_round_has_its_figures(tmp_path: Path) -> None:
    (figures,) = islice(SMALL[0].rounds(tmp_path, 4000), 1)
    assert {"over limit", "model images/s", "decoding images/s", "steady images/s", "best batch"} <= figures.keys()
    assert all(value > 0 for value in figures.values())


@pytest.mark.slow
@pytest.mark.ray
def test_a_round_of_training_has_its_figures(tmp_path: Path) -> None:
    small = TrainingOnGpu(preprocess={"resize_px": [32, 32]}, size_px=32, batch_images=16, precision="fp32", small=True)
    (figures,) = islice(small.rounds(tmp_path, 3000), 1)
    assert {"over limit", "real over resident", "waited", "training images/s"} <= figures.keys()
    assert figures["over limit"] > 0
