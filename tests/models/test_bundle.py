"""A spec's model, resolved on the driver."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vision_batch.errors import ModelError, SpecError
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.settings import ModelSettings

PLUGIN = """
import torch

def build(classes=2, fail=False):
    if fail:
        raise KeyError("no such backbone")
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, classes)).double()

def build_nothing():
    return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vb_model.py").write_text(PLUGIN)
    weights = {"2.weight": torch.arange(6.0).view(2, 3), "2.bias": torch.tensor([1.0, -1.0])}
    save_file(weights, tmp_path / "w.safetensors")
    return tmp_path


def resolved(folder: Path, source: str = "python:vb_model:build", **more: Any) -> ModelBundle:
    return resolve_model(ModelSettings(source=source, **more), folder)


class TestPythonSource:
    def test_the_factory_is_called_with_the_options(self, folder: Path) -> None:
        module = resolved(folder, options={"classes": 7}).load()
        assert module(torch.zeros(4, 3, 8, 8)).shape == (4, 7)

    def test_the_module_is_float32_and_in_eval_mode(self, folder: Path) -> None:
        module = resolved(folder).load()
        assert not module.training
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}

    def test_weights_are_loaded_into_it(self, folder: Path) -> None:
        module = resolved(folder, weights="w.safetensors").load()
        assert module(torch.ones(1, 3, 8, 8)).tolist() == [[4.0, 11.0]]

    def test_it_travels(self, folder: Path) -> None:
        bundle = resolved(folder, weights="w.safetensors", labels=["a", "b"])
        (folder / "vb_model.py").unlink()
        assert pickle.loads(pickle.dumps(bundle)) == bundle
        assert isinstance(pickle.loads(pickle.dumps(bundle)).load(), torch.nn.Module)

    def test_a_factory_that_fails(self, folder: Path) -> None:
        with pytest.raises(ModelError, match=r"vb_model:build\(.*\) raised KeyError: 'no such backbone'"):
            resolved(folder, options={"fail": True}).load()
        with pytest.raises(ModelError, match="unexpected keyword argument 'depth'"):
            resolved(folder, options={"depth": 50}).load()

    def test_a_factory_that_returns_no_module(self, folder: Path) -> None:
        with pytest.raises(ModelError, match=r"returned a NoneType; expected a torch.nn.Module"):
            resolved(folder, "python:vb_model:build_nothing").load()


class TestFacts:
    def test_all_that_decides_a_prediction(self, folder: Path) -> None:
        facts = resolved(folder, weights="w.safetensors", labels=["a", "b"], options={"classes": 2}).facts
        assert sorted(facts) == ["factory", "labels", "options", "plugin_sha256", "source", "weights_sha256"]
        assert facts["options"] == '{"classes": 2}'
        assert facts["labels"].startswith("2, sha256 ")

    def test_they_change_with_each_of_them(self, folder: Path) -> None:
        seen = [
            resolved(folder).facts,
            resolved(folder, labels=["a", "b"]).facts,
            resolved(folder, labels=["b", "a"]).facts,
        ]
        seen += [resolved(folder, options={"classes": 2}).facts, resolved(folder, weights="w.safetensors").facts]
        save_file({"2.weight": torch.zeros(2, 3), "2.bias": torch.zeros(2)}, folder / "w.safetensors")
        seen += [resolved(folder, weights="w.safetensors").facts]
        (folder / "vb_model.py").write_text(PLUGIN + "# another\n")
        seen += [resolved(folder).facts]
        assert len({str(facts) for facts in seen}) == len(seen)

    def test_they_do_not_change_with_the_place_of_the_spec(self, folder: Path) -> None:
        before = resolved(folder, weights="w.safetensors").facts
        moved = folder.rename(folder.with_name("elsewhere"))
        assert resolved(moved, weights=str(moved / "w.safetensors")).facts == before


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("pyton:m:f", r"one of python:…, export:…, transformers:…, trained:…, .*; did you mean python:…\?"),
            ("exports:a.pt2", r"did you mean export:"),
            ("whatever", r"found 'whatever'; expected one of python:"),
            ("python:", r"one of python:"),
            ("python:vb_model", r"module:attribute"),
            ("python:vb_none:build", r"no vb_none.py in"),
            ("export:none.pt2", r"model.source: found .*none.pt2"),
            ("transformers:./none", r"no folder .*none"),
        ],
    )
    def test_a_source_that_is_not_there(self, folder: Path, source: str, words: str) -> None:
        with pytest.raises(SpecError, match=words):
            resolved(folder, source)

    def test_weights_that_are_not_there(self, folder: Path) -> None:
        with pytest.raises(SpecError, match=r"model.weights: found .*none.safetensors"):
            resolved(folder, weights="none.safetensors")

    @pytest.mark.parametrize("source", ["export:a.pt2", "transformers:folder"])
    def test_weights_and_options_of_a_source_that_holds_its_own(self, folder: Path, source: str) -> None:
        with pytest.raises(SpecError, match=r"model.weights: .*\nmodel.options: .* hold their own"):
            resolved(folder, source, weights="w.safetensors", options={"a": 1})

    def test_weights_that_changed_since_they_were_digested(self, folder: Path) -> None:
        bundle = resolved(folder, weights="w.safetensors")
        save_file({"2.weight": torch.zeros(2, 3), "2.bias": torch.zeros(2)}, folder / "w.safetensors")
        with pytest.raises(ModelError, match="has changed since the run began"):
            bundle.load()

    def test_weights_that_a_worker_cannot_see(self, folder: Path) -> None:
        bundle = resolved(folder, weights="w.safetensors")
        (folder / "w.safetensors").unlink()
        with pytest.raises(ModelError, match="every worker must be able to read it"):
            bundle.load()


def test_resolving_imports_neither_torch_nor_transformers(folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from vision_batch.models.bundle import resolve_model
from vision_batch.models.settings import ModelSettings
settings = ModelSettings(source="python:vb_model:build", weights="w.safetensors", labels=["a", "b"])
resolve_model(settings, Path({str(folder)!r}))
sys.exit(", ".join({{"torch", "transformers", "ray", "numpy"}} & set(sys.modules)) or 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
