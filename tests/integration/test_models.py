"""What a run writes is what plain torch says of the same pixels, for every source of a model and for plug-in steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests.integration.job import MODEL, Job, digits, write_folder, write_tar
from tests.models.archives import exported
from tests.models.labelled import FILES, labelled
from tests.models.test_transformers_detection import detr
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.bundle import resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.tasks.detection import CORNERS

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]
Answer = tuple[int, float]

COUNT = 60
PIXELS = {"resize_px": [28, 28], "mean": [0.2, 0.3, 0.4], "std": [0.5, 0.6, 0.7]}

INVERT = """
import numpy as np

def invert(image):
    assert image.dtype == np.uint8 and image.shape == (32, 32, 3), image.shape
    return 255 - image
"""


def conv_net() -> torch.nn.Module:
    """With logits far enough apart for the digits to get several labels."""
    torch.manual_seed(3)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten()
    ).append(torch.nn.BatchNorm1d(128, momentum=None))
    with torch.inference_mode():
        net(torch.randn(64, 3, 28, 28))
    return net.append(torch.nn.Linear(128, 10)).eval()


def plain(module: torch.nn.Module, settings: PreprocessSettings, function: Any = None) -> list[Answer]:
    """(label_index, score) of each digit, one at a time, by torch alone on the Preprocessor's pixels."""
    preprocessor = Preprocessor(settings, max_pixels=10**6, function=function)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (settings.mean, settings.std))
    answers = []
    for content in digits(COUNT):
        image = torch.from_numpy(preprocessor(content).pixels).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            share = module(((image - mean) / std)[None]).softmax(dim=1)[0]
        answers.append((int(share.argmax()), float(share.max())))
    assert len({label for label, _ in answers}) > 1, "all digits have one label: this would prove little"
    assert np.ptp([score for _, score in answers]) > 0.01, "all digits have one score: this would prove little"
    return answers


def check(job: Job, address: str, wanted: list[Answer], labels: list[str] | None = None) -> None:
    summary = job.run(address, "compute.batch_size=16")
    assert (summary.status, summary.images_ok, summary.failures) == ("done", COUNT, {})
    table = job.table()
    assert table["label_index"].to_pylist() == [label for label, _ in wanted]
    names = labels or [str(index) for index in range(10)]
    assert table["label"].to_pylist() == [names[label] for label, _ in wanted]
    np.testing.assert_allclose(table["score"].to_numpy(), [score for _, score in wanted], atol=1e-4)
    assert [scores[0] for scores in table["top_scores"].to_pylist()] == table["score"].to_pylist()


def test_an_exported_program(job: MakeJob, ray_address: str) -> None:
    it = job(model={"source": "export:model.pt2"}, preprocess=PIXELS)
    write_tar(it.data / "a.tar", digits(COUNT))
    net = conv_net()
    (it.folder / "model.pt2").write_bytes(exported(net, torch.zeros(2, 3, 28, 28)))
    check(it, ray_address, plain(net, PreprocessSettings.model_validate(PIXELS)))


def vit(folder: Path, names: list[str]) -> torch.nn.Module:
    """A tiny random ViT and its image processor, saved as the hub has them; bold, so that digits get several labels."""
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        num_labels=len(names),
        initializer_range=0.3,
    )
    config.id2label = dict(enumerate(names))
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessorPil(size=size, image_mean=PIXELS["mean"], image_std=PIXELS["std"]).save_pretrained(
        folder
    )

    class Logits(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            return model(images).logits

    return Logits()


def test_a_folder_of_transformers_brings_its_own_steps_and_labels(job: MakeJob, ray_address: str) -> None:
    it = job(model={"source": "transformers:folder"})
    del it.settings["preprocess"]
    it.spec.write_text(yaml.safe_dump(it.settings))
    write_tar(it.data / "a.tar", digits(COUNT))
    names = ["cat", "dog", "bird", "cat"]
    net = vit(it.folder / "folder", names)
    said = PreprocessSettings(resize_px=(32, 32), mean=(0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7))
    check(it, ray_address, plain(net, said), names)


def test_a_detector_of_transformers_sees_each_picture_in_its_own_size(job: MakeJob, ray_address: str) -> None:
    """Of files of several sizes, in whatever batches they come, what the module says of all of them at once."""
    task = {"type": "detection", "score_threshold": 0.0}
    it = job(model={"source": "transformers:folder"}, task=task, compute={"precision": "fp32"})
    del it.settings["preprocess"]
    it.spec.write_text(yaml.safe_dump(it.settings))
    torch.manual_seed(0)
    detr(it.folder / "folder")
    it.data.mkdir()
    for number, data in enumerate([*FILES.values(), b"no picture"]):
        (it.data / f"{number}.png").write_bytes(data)
    summary = it.run(ray_address, "compute.batch_size=4")
    assert (summary.images_ok, summary.images_failed) == (len(FILES), 1)
    bundle = resolve_model(ModelSettings(source="transformers:folder"), it.folder, task="detection")
    *found, broken = it.table()["boxes"].to_pylist()
    assert broken is None
    for boxes, wanted in zip(found, labelled(bundle, **task), strict=True):
        assert [box["label"] for box in boxes] == [box["label"] for box in wanted]
        for name in ("score", *CORNERS):
            np.testing.assert_allclose([box[name] for box in boxes], [box[name] for box in wanted], atol=1e-2)


@pytest.mark.parametrize("layout", ["joined", "split"])
def test_a_plug_in_that_inverts_the_picture(job: MakeJob, ray_address: str, layout: str) -> None:
    code = MODEL.replace("self.layers(images)", "30 * self.layers(images)")
    it = job(
        code=code, preprocess={**PIXELS, "function": "steps:invert"}, compute={"layout": layout, "precision": "fp32"}
    )
    (it.folder / "steps.py").write_text(INVERT)
    write_folder(it.data, digits(COUNT))
    module: dict[str, Any] = {}
    exec(code, module)
    net, settings = module["build"]().eval(), PreprocessSettings.model_validate(PIXELS)
    inverted = plain(net, settings, lambda image: 255 - image)
    assert np.abs(np.subtract(inverted, plain(net, settings))[:, 1]).min() > 1e-3
    check(it, ray_address, inverted)
