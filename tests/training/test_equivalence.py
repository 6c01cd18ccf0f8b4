"""However many workers share a global batch, what is learned from it is what one worker would have learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.small_modules import Detector, MeanDetector, OverPixels, Pixelwise, Plain, WithUnusedParameters
from tests.training.small_training import Case, Ran, WorkerPool

GLOBAL_BATCH = 12
EPOCHS = 10
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.001}
MULTI_LABEL = {"type": "classification", "multi_label": True}
SEGMENTATION = {"type": "segmentation"}
DETECTION = {"type": "detection", "nms_iou": 0.5}


def case_of(**changes: Any) -> Case:
    """50 steps: an epoch is four full global batches and one of seven images."""
    spec = {"epochs": EPOCHS, "batch_size": GLOBAL_BATCH, "optimizer": SGD, **changes.pop("spec", {})}
    return Case(**{"module": Plain, "images": 4 * GLOBAL_BATCH + 7, "spec": spec, **changes})


def numbers(losses: Sequence[float | None]) -> list[float]:
    """Those of the steps that were not left out."""
    return [loss for loss in losses if loss is not None]


def assert_same(pool: WorkerPool, case: Case, workers: int, scratch: Path, *, steps: int = 50) -> tuple[Ran, Ran]:
    """Losses, gradients and weights of one worker with the whole global batch, and of several with their shares."""
    alone = pool.run(replace(case, folder=scratch / "alone"), 1)[0]
    spec = {**case.spec, "batch_size": case.spec["batch_size"] // workers}
    first, *others = pool.run(replace(case, spec=spec, folder=scratch / "together"), workers)
    assert len(alone.losses) == steps
    assert [event.kind for other in others for event in other.events if event.kind != "broken"] == []
    assert [loss is None for loss in first.losses] == [loss is None for loss in alone.losses]
    np.testing.assert_allclose(numbers(first.losses), numbers(alone.losses), rtol=0, atol=1e-5)
    for name, values in alone.weights.items():
        np.testing.assert_allclose(first.weights[name], values, rtol=0, atol=1e-5)
    return alone, first


@pytest.mark.parametrize("workers", [2, 3])
def test_classification(pool: WorkerPool, tmp_path: Path, workers: int) -> None:
    alone, _ = assert_same(pool, case_of(), workers, tmp_path)
    assert alone.losses[-1] != alone.losses[0]


def test_classification_with_class_weights_and_smoothing(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {"class_weights": [1.0, 3.0, 0.5], "loss": {"name": "cross_entropy", "label_smoothing": 0.1}}
    assert_same(pool, case_of(spec=spec), 2, tmp_path)


def test_multi_label(pool: WorkerPool, tmp_path: Path) -> None:
    assert_same(pool, case_of(task=MULTI_LABEL), 2, tmp_path)


def test_segmentation_with_two_losses_and_pixels_to_ignore(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {"loss": [{"name": "cross_entropy"}, {"name": "dice", "weight": 0.5}]}
    assert_same(pool, case_of(module=Pixelwise, task=SEGMENTATION, spec=spec), 2, tmp_path)


@pytest.mark.parametrize("module", [Detector, MeanDetector])
def test_a_module_that_brings_its_loss(pool: WorkerPool, tmp_path: Path, module: type) -> None:
    """Its sums and their weights, or its means over images, though shares have unequal numbers of images and boxes."""
    case = case_of(module=module, task=DETECTION, broken=frozenset(range(0, 55, 3)), spec={"ema": {"decay": 0.9}})
    alone, together = assert_same(pool, replace(case, validation_images=17), 2, tmp_path)
    assert alone.losses[-1] != alone.losses[0]
    for one, other in zip(alone.epochs, together.epochs, strict=True):
        assert set(one.metrics) == {"mean_average_precision_50", "recall_50"}
        assert one.metrics == pytest.approx(dict(other.metrics), abs=1e-5)


def test_a_module_that_brings_its_loss_and_workers_without_images(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {"batch_size": 2, "epochs": 1}
    case = case_of(module=Detector, task=DETECTION, broken=frozenset(range(0, 55, 2)), images=55, spec=spec)
    assert_same(pool, case, 2, tmp_path, steps=28)


def test_accumulated_sums_of_a_module_are_one_step_with_all_images(pool: WorkerPool, tmp_path: Path) -> None:
    case = case_of(module=Detector, task=DETECTION, spec={"batch_size": 4, "accumulate": 3})
    accumulated, _ = assert_same(pool, case, 2, tmp_path)
    at_once = pool.run(replace(case, spec={**case.spec, "batch_size": 12, "accumulate": 1}), 1)[0]
    np.testing.assert_allclose(accumulated.losses, at_once.losses, rtol=0, atol=1e-5)


def test_clipping_and_l1(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {"clip_norm": 0.3, "optimizer": {**SGD, "l1": 0.001}}
    alone, together = assert_same(pool, case_of(spec=spec), 2, tmp_path)
    norms = [[taken.gradient_norm for taken in ran.taken] for ran in (alone, together)]
    assert norms[0] == pytest.approx(norms[1], abs=1e-4)
    assert norms[0][-1] > spec["clip_norm"]


def test_broken_images_leave_uneven_and_empty_shares(pool: WorkerPool, tmp_path: Path) -> None:
    case = case_of(broken=frozenset(range(0, 55, 2)), images=55, spec={"batch_size": 2, "epochs": 1})
    alone, together = assert_same(pool, case, 2, tmp_path, steps=28)
    assert alone.losses.count(None) == together.losses.count(None) > 0
    assert [(event.images, event.broken) for event in together.epochs] == [(27, 28)]


def test_accumulating_is_one_step_with_all_images(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {"class_weights": [1.0, 3.0, 0.5], "batch_size": 4, "accumulate": 3}
    case = case_of(spec=spec)
    accumulated, _ = assert_same(pool, case, 2, tmp_path)
    at_once = pool.run(replace(case, spec={**case.spec, "batch_size": 12, "accumulate": 1}), 1)[0]
    np.testing.assert_allclose(accumulated.losses, at_once.losses, rtol=0, atol=1e-5)


def test_parameters_that_nothing_uses_stay_as_they_are(pool: WorkerPool, tmp_path: Path) -> None:
    case = case_of(module=WithUnusedParameters, spec={"optimizer": {"name": "adamw", "weight_decay": 0.5}})
    assert_same(pool, case, 2, tmp_path)


def test_averages_and_validation(pool: WorkerPool, tmp_path: Path) -> None:
    case = case_of(spec={"ema": {"decay": 0.9}}, validation_images=17)
    alone, together = assert_same(pool, case, 2, tmp_path)
    for one, other in zip(alone.epochs, together.epochs, strict=True):
        assert one.metrics == pytest.approx(dict(other.metrics), abs=1e-5)


@pytest.mark.gpu
def test_synchronised_batch_norm(pool: WorkerPool, tmp_path: Path) -> None:
    """Its statistics are those of the global batch, whose last one of seven images does not divide."""
    if torch.cuda.device_count() < 2:
        pytest.skip("there are no two CUDA devices")
    case = case_of(module=OverPixels, spec={"sync_batch_norm": True}, on_gpus=True)
    assert_same(pool, case, 2, tmp_path)
