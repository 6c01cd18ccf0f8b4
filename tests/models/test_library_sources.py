"""`timm:` and `torchvision:`, which no base install has: against packages that have their functions' signatures.

What these tests cannot show is that the libraries themselves do what their documentation says.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vision_batch.errors import ModelError, SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.models.timm_source import read_pretrained_cfg

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) for name in ("timm", "torchvision")),
    reason="timm or torchvision is installed, and would be found instead",
)

TIMM = """
import torch

class PretrainedCfg:
    def to_dict(self, remove_source=False, remove_null=True):
        return {"input_size": (3, 32, 32), "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center",
                "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "num_classes": 3}

def get_pretrained_cfg(model_name, allow_unregistered=True):
    if model_name == "unknown":
        raise RuntimeError("Model architecture (unknown) has no pretrained cfg registered.")
    return PretrainedCfg()

class Net(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.head = torch.nn.Conv2d(3, 5, 4, stride=4), torch.nn.Linear(5, num_classes)

    def reset_classifier(self, num_classes, global_pool=None):
        self.head = torch.nn.Linear(5, num_classes) if num_classes else torch.nn.Identity()

    def forward(self, x):
        return self.head(self.stem(x).mean(dim=(2, 3)))

def create_model(model_name, pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, checkpoint_path="",
                 scriptable=None, exportable=None, no_jit=None, **kwargs):
    assert not pretrained and not checkpoint_path
    if model_name == "unknown":
        raise RuntimeError("Unknown model (unknown)")
    return Net(**{"num_classes": 3, **kwargs})
"""
TORCHVISION = """
import torch
from collections import OrderedDict

class Net(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.fc = torch.nn.Conv2d(3, 5, 4, stride=4), torch.nn.Linear(5, num_classes)

    def forward(self, x):
        return self.fc(self.stem(x).mean(dim=(2, 3)))

class Segmenter(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.classifier = torch.nn.Conv2d(3, num_classes, 1)

    def forward(self, x):
        return OrderedDict(out=self.classifier(x), aux=x)

def net(*, weights="a download", progress=True, num_classes=3, **kwargs):
    assert weights is None
    return Net(num_classes)

def segmenter(*, weights="a download", progress=True, num_classes=3, weights_backbone="a download", **kwargs):
    assert weights is None and weights_backbone is None
    return Segmenter(num_classes)

BUILDERS = {"net": net, "segmenter": segmenter}

def get_model_builder(name):
    try:
        return BUILDERS[name.lower()]
    except KeyError:
        raise ValueError(f"Unknown model {name}")

def get_model(name, **config):
    return get_model_builder(name)(**config)
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts packages on the path, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def installed(library: str, code: str, version: str = "1.2.3") -> Path:
        package = site / library
        package.mkdir()
        (package / "__init__.py").write_text("" if library == "torchvision" else code)
        if library == "torchvision":
            (package / "models.py").write_text(code)
        metadata = site / f"{library}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\n")
        importlib.invalidate_caches()
        return site

    yield installed
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save(tmp_path, **{"stem.weight": torch.rand(5, 3, 4, 4), "stem.bias": torch.rand(5)})


def save(folder: Path, head: str = "head", **tensors: torch.Tensor) -> Path:
    save_file({**tensors, f"{head}.weight": torch.rand(3, 5), f"{head}.bias": torch.rand(3)}, folder / "w.safetensors")
    return folder / "w.safetensors"


def resolved(source: str, weights: Path | None, task: str = "classification", **more: Any) -> ModelBundle:
    keys = {key: more.pop(key) for key in ("read_preprocess", "for_training") if key in more}
    settings = ModelSettings(source=source, weights=None if weights is None else str(weights), **more)
    return resolve_model(settings, Path("/"), task=task, **keys)


class TestTimm:
    def test_a_classifier_with_the_steps_of_its_own_configuration(self, install: Install, weights: Path) -> None:
        install("timm", TIMM)
        bundle = resolved("timm:net", weights)
        assert bundle.facts.items() >= {"source": "timm", "name": "net", "timm": "1.2.3"}.items()
        assert "weights_sha256" in bundle.facts
        assert bundle.preprocess == PreprocessSettings(
            resize_shorter_px=35, crop_px=32, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)
        )
        assert bundle.load()(torch.rand(2, 3, 32, 32)).shape == (2, 3)

    def test_an_embedder_gives_what_its_classifier_would_get(self, install: Install, weights: Path) -> None:
        install("timm", TIMM)
        images = torch.rand(2, 3, 32, 32)
        classifier, embedder = (resolved("timm:net", weights, task).load() for task in ("classification", "embedding"))
        vectors = embedder(images)
        assert vectors.shape == (2, 5)
        assert torch.equal(classifier.head(vectors), classifier(images))

    def test_with_steps_in_the_spec_the_driver_does_not_import_it(self, install: Install, weights: Path) -> None:
        install("timm", "raise ImportError('on the driver')")
        assert resolved("timm:net", weights, read_preprocess=False).preprocess is None

    def test_options_are_the_librarys(self, install: Install, weights: Path) -> None:
        install("timm", TIMM)
        with pytest.raises(ModelError, match="other shape: head"):
            resolved("timm:net", weights, options={"num_classes": 7}).load()
        for option in ("pretrained", "checkpoint_path"):
            with pytest.raises(SpecError, match=rf"model\.options\.{option}: found .*model\.weights has the weights"):
                resolved("timm:net", weights, options={option: "true"})

    def test_a_model_that_it_does_not_know(self, install: Install, weights: Path) -> None:
        install("timm", TIMM)
        with pytest.raises(SpecError, match=r"unknown.*expected a model that timm knows"):
            resolved("timm:unknown", weights)
        with pytest.raises(ModelError, match=r"timm\.create_model\('unknown'.*Unknown model"):
            resolved("timm:unknown", weights, read_preprocess=False).load()

    @pytest.mark.parametrize(
        ("change", "steps"),
        [
            ({"crop_mode": "squash", "crop_pct": 1.0}, {"resize_px": (224, 224), "crop_px": 224}),
            ({"crop_mode": None, "crop_pct": 0.875}, {"resize_shorter_px": 256, "crop_px": 224}),
            ({"interpolation": "bilinear", "crop_pct": 0.95}, {"resize_shorter_px": 235, "interpolation": "bilinear"}),
        ],
    )
    def test_steps(self, change: dict[str, Any], steps: dict[str, Any]) -> None:
        cfg = {"input_size": (3, 224, 224), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}
        found = read_pretrained_cfg(cfg | change)
        assert {key: getattr(found, key) for key in steps} == steps

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"crop_mode": "border"}, "crop_mode border; expected center or squash"),
            ({"input_size": (3, 224, 192)}, r"input_size \(3, 224, 192\)"),
            ({"input_size": (1, 28, 28)}, r"input_size \(1, 28, 28\)"),
            ({"interpolation": "lanczos"}, "interpolation lanczos"),
        ],
    )
    def test_steps_that_we_do_not_have(self, change: dict[str, Any], problem: str) -> None:
        cfg = {"input_size": (3, 224, 224), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}
        with pytest.raises(SpecError, match=problem):
            read_pretrained_cfg({**cfg, "crop_pct": 0.9, **change})


class TestTorchvision:
    def test_a_classifier(self, install: Install, tmp_path: Path) -> None:
        install("torchvision", TORCHVISION, "0.99+cpu")
        stem = {"stem.weight": torch.rand(5, 3, 4, 4), "stem.bias": torch.rand(5)}
        bundle = resolved("torchvision:net", save(tmp_path, "fc", **stem))
        assert bundle.facts.items() >= {"source": "torchvision", "name": "net", "torchvision": "0.99+cpu"}.items()
        assert bundle.load()(torch.rand(2, 3, 32, 32)).shape == (2, 3)
        embedder = resolved("torchvision:net", tmp_path / "w.safetensors", "embedding").load()
        assert embedder(torch.rand(2, 3, 32, 32)).shape == (2, 5)

    def test_a_segmenter(self, install: Install, tmp_path: Path) -> None:
        install("torchvision", TORCHVISION)
        path = tmp_path / "w.safetensors"
        save_file({"classifier.weight": torch.rand(3, 3, 1, 1), "classifier.bias": torch.rand(3)}, path)
        module = resolved("torchvision:segmenter", path, "segmentation").load()
        assert module(torch.rand(2, 3, 8, 8)).shape == (2, 3, 8, 8)
        with pytest.raises(ModelError, match="has no linear layer at its end; embed with a python: model"):
            resolved("torchvision:segmenter", path, "embedding").load()

    def test_a_model_that_it_does_not_know(self, install: Install, weights: Path) -> None:
        install("torchvision", TORCHVISION)
        with pytest.raises(ModelError, match="Unknown model none"):
            resolved("torchvision:none", weights).load()

    def test_another_build_than_torchs_says_what_to_install(self, install: Install, weights: Path) -> None:
        install("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
        with pytest.raises(ModelError, match=r"nms does not exist\); install torchvision in the build .* to torch 2"):
            resolved("torchvision:net", weights).load()


@pytest.mark.parametrize("library", ["timm", "torchvision"])
class TestBoth:
    def test_where_it_is_not_installed(self, library: str, weights: Path) -> None:
        with pytest.raises(SpecError, match=rf"{library} is not installed; expected install torchvision in the build"):
            resolved(f"{library}:net", weights)

    def test_weights_are_the_specs(self, library: str) -> None:
        with pytest.raises(SpecError, match=r"model\.weights: found nothing; expected safetensors of all its weights"):
            resolved(f"{library}:net", None)

    def test_a_training_builds_it_itself(self, library: str) -> None:
        with pytest.raises(SpecError, match=rf"{library}:net in a train job; expected a python: model"):
            resolved(f"{library}:net", None, for_training=True)

    def test_a_task_that_it_does_not_answer(self, library: str, weights: Path) -> None:
        with pytest.raises(SpecError, match=rf"{library}:net with the task detection; expected one of"):
            resolved(f"{library}:net", weights, "detection")
