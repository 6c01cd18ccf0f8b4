"""Models of transformers: a new head to train, and a folder of that library at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.test_transformers_detection import detr, yolos
from tests.models.test_transformers_masks import segformer
from tests.models.test_transformers_source import bit, resnet
from tests.training.small_training import Case, run_worker
from tests.training.test_trained_model import outcome, train_job, write
from vision_batch.errors import ModelError, SpecError
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.models.transfer import mapped
from vision_batch.tasks.detector_answer import answers, found_in
from vision_batch.tasks.settings import TaskSettings

IMAGES = torch.rand(2, 3, 64, 64)
LABELS = ("ant", "bee", "fly")
SIDES = 128, 128
"""Of the square that the detectors' folders ask for."""
CLASSIFICATION = TaskSettings(type="classification")


def start(folder: Path, labels: tuple[str, ...] | None = LABELS) -> ModelBundle:
    settings = ModelSettings(source="transformers:model", labels=labels and list(labels))
    return resolve_model(settings, folder, for_training=True)


def served(folder: Path, source: str) -> ModelBundle:
    return resolve_model(ModelSettings(source=source), folder)


def trained_folder(folder: Path, bundle: ModelBundle, task: TaskSettings = CLASSIFICATION) -> torch.nn.Module:
    """Trains nothing: writes what the start is, as if it had come out."""
    assert bundle.preprocess is not None
    assert bundle.labels is not None
    torch.manual_seed(0)
    module = bundle.load()
    job = train_job(
        folder, str(folder / "out"), model=bundle, preprocess=bundle.preprocess, labels=bundle.labels, task=task
    )
    pixels = torch.zeros(0, 64, 64, 3, dtype=torch.uint8).numpy()
    write(job, outcome(module, pixels=pixels))
    return module


def test_another_number_of_labels_gets_a_new_head(tmp_path: Path) -> None:
    resnet(tmp_path / "model")
    pretrained, bundle = start(tmp_path, None), start(tmp_path)
    assert bundle.labels == LABELS
    torch.manual_seed(0)
    module = bundle.load()
    assert module(IMAGES).shape == (2, 3)
    ours, theirs = module.state_dict(), pretrained.load().state_dict()
    assert [name for name in theirs if not torch.equal(ours[name].sum(), theirs[name].sum())] == [
        "model.classifier.1.weight",
        "model.classifier.1.bias",
    ]
    assert bundle.facts["options"] == '{"new_classes": 3}'
    assert start(tmp_path, ("a", "b", "c", "d")).options == {}


def test_serving_gets_no_new_head(tmp_path: Path) -> None:
    resnet(tmp_path / "model")
    settings = ModelSettings(source="transformers:model", labels=list(LABELS))
    assert resolve_model(settings, tmp_path).load()(IMAGES).shape == (2, 4)


def test_what_was_trained_is_a_program_and_a_folder_of_the_library(tmp_path: Path) -> None:
    resnet(tmp_path / "model")
    bundle = start(tmp_path)
    module = trained_folder(tmp_path, bundle)
    program, folder = served(tmp_path, "trained:out"), served(tmp_path, "transformers:out/transformers")
    assert program.labels == folder.labels == LABELS
    assert program.preprocess == folder.preprocess == bundle.preprocess
    torch.testing.assert_close(program.load()(IMAGES), module(IMAGES))
    assert torch.equal(folder.load()(IMAGES), module(IMAGES))


def test_without_a_program_the_folder_is_served_and_either_can_be_trained_further(tmp_path: Path) -> None:
    bit(tmp_path / "model")  # its convolutions normalise their weights with batch statistics, also in eval mode
    module = trained_folder(tmp_path, start(tmp_path))
    assert not (tmp_path / "out" / "model.pt2").exists()
    assert torch.equal(served(tmp_path, "trained:out").load()(IMAGES), module(IMAGES))
    further = resolve_model(ModelSettings(source="trained:out"), tmp_path, for_training=True)
    assert torch.equal(trained_folder(tmp_path, further)(IMAGES), module(IMAGES))
    assert torch.equal(served(tmp_path, "trained:out").load()(IMAGES), module(IMAGES))
    with (tmp_path / "out" / "transformers" / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(SpecError, match=r"transformers/config.json with SHA-256 .* as model.yaml has recorded it"):
        served(tmp_path, "trained:out")


def test_a_semantic_segmenter_is_trained_as_a_classifier_is(tmp_path: Path) -> None:
    segformer(tmp_path / "model")
    settings = ModelSettings(source="transformers:model", labels=list(LABELS))
    bundle = resolve_model(settings, tmp_path, task="segmentation", for_training=True)
    module = trained_folder(tmp_path, bundle, TaskSettings(type="segmentation"))
    images = torch.rand(2, 3, 96, 128)
    assert module(images).shape == (2, 3, 24, 32)
    for source in ("trained:out", "transformers:out/transformers"):
        model = resolve_model(ModelSettings(source=source), tmp_path, task="segmentation")
        torch.testing.assert_close(model.load()(images), module(images))


@pytest.mark.parametrize("write", [detr, yolos])
def test_a_detector_of_detrs_kind_brings_its_loss(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """That of the library, of the boxes as it wants them; what comes out is a program, and a folder to serve."""
    write(tmp_path / "model")
    settings = ModelSettings(source="transformers:model", labels=list(LABELS))
    bundle = resolve_model(settings, tmp_path, task="detection", for_training=True)
    module = trained_folder(tmp_path, bundle, TaskSettings(type="detection"))
    images = torch.rand(2, 3, *SIDES)
    targets = [
        {"boxes": torch.tensor([[0.0, 32, 64, 96], [16, 16, 48, 80]]), "labels": torch.tensor([2, 0])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    wanted = [
        {
            "boxes": torch.tensor([[0.25, 0.5, 0.5, 0.5], [0.25, 0.375, 0.25, 0.5]]),
            "class_labels": torch.tensor([2, 0]),
        },
        {"boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.int64)},
    ]
    answer = module.model(pixel_values=images, labels=wanted)
    torch.testing.assert_close(module(images, targets), {"loss": answer.loss})
    scores = answer.logits.softmax(-1)[..., :-1].max(-1).values
    for source in ("trained:out", "transformers:out/transformers"):
        model = resolve_model(ModelSettings(source=source), tmp_path, task="detection").load()
        (found, _) = answers(mapped(model(images), lambda tensor: tensor.detach().numpy()))
        np.testing.assert_allclose(found_in(found, SIDES, masks=False).scores, scores[0].detach(), atol=1e-5)


def test_a_detector_learns_by_its_own_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    detr(tmp_path / "model")
    settings = ModelSettings(source="transformers:model", labels=list(LABELS))
    bundle = resolve_model(settings, tmp_path, task="detection", for_training=True)
    spec = {"epochs": 8, "batch_size": 8, "optimizer": {"lr": 0.03}, "schedule": {"name": "constant"}}
    ran = run_worker(
        0, 1, Case(module=bundle.load, task={"type": "detection"}, spec=spec, images=24, validation_images=8)
    )
    assert [set(event.metrics) for event in ran.epochs] == [{"mean_average_precision_50", "recall_50"}] * 8
    assert (ran.epochs[-1].loss or 0) < 0.95 * (ran.epochs[0].loss or 0)


def test_masks_that_count_from_1_are_not_learned_from_as_they_are(tmp_path: Path) -> None:
    """SegFormer's folders for ADE20K say so: what is 1 in a mask is class 0."""
    segformer(tmp_path / "model")
    settings = ModelSettings(source="transformers:model")
    with pytest.raises(SpecError, match="do_reduce_labels: true in a train job; expected false, and masks whose"):
        resolve_model(settings, tmp_path, task="segmentation", for_training=True)
    assert resolve_model(settings, tmp_path, task="segmentation").labels is not None


def test_a_folder_of_another_task_is_still_refused(tmp_path: Path) -> None:
    import transformers

    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    transformers.ViTModel(
        transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    ).save_pretrained(tmp_path / "model")
    config.save_pretrained(tmp_path / "model")
    bundle = start(tmp_path)
    with pytest.raises(ModelError, match="lacks weights of an image classifier"):
        bundle.load()
