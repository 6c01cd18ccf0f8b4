"""Safetensors go in whole or not at all; pickles never."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vision_batch.errors import ModelError, SpecError
from vision_batch.models.digest import file_digest, weights_digest
from vision_batch.models.weights import load_weights


def save(path: Path, **tensors: torch.Tensor) -> tuple[str, str]:
    save_file(tensors, path)
    return str(path), weights_digest(str(path))


def test_half_precision_weights_are_loaded_into_a_float_module(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    half = {name: value.half() for name, value in module.state_dict().items()}
    load_weights(module, *save(tmp_path / "w", **half))
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.weight.half(), half["weight"])


def test_names_and_shapes_that_do_not_fit_are_listed_and_nothing_is_loaded(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    before = module.weight.clone()
    saved = save(tmp_path / "w", weight=torch.zeros(4, 3), **{"head.bias": torch.zeros(2)})
    with pytest.raises(ModelError) as caught:
        load_weights(module, *saved)
    assert "missing: bias (2,)" in str(caught.value)
    assert "unexpected: head.bias (2,)" in str(caught.value)
    assert "other shape: weight: model (2, 3), file (4, 3)" in str(caught.value)
    assert torch.equal(module.weight, before)


def test_only_the_first_names_are_listed(tmp_path: Path) -> None:
    saved = save(tmp_path / "w", **{f"t{n:02}": torch.zeros(1) for n in range(40)})
    with pytest.raises(ModelError, match=r"t00 \(1,\), .*t04 \(1,\) and 35 more$"):
        load_weights(torch.nn.Identity(), *saved)


def test_a_cut_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"weight": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_weights(torch.nn.Identity(), str(path), file_digest(str(path), where=""))


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, ("/nonexistent/written",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps({"weight": Hostile()}, protocol))
    kind = "a pickle, which can run any code when it is loaded" if protocol >= 2 else "not a safetensors file"
    with pytest.raises(SpecError, match=f"is {kind}; expected safetensors; convert a file you trust: python -c"):
        weights_digest(str(path))
    with pytest.raises(ModelError, match=f"is {kind}; safetensors is expected; convert a file"):
        load_weights(torch.nn.Identity(), str(path), file_digest(str(path), where=""))


@pytest.mark.parametrize("names", range(1, 40))
def test_a_header_of_any_length_is_not_taken_for_a_pickle(tmp_path: Path, names: int) -> None:
    """The length comes first: 128 and 640 look like the beginning of a pickle."""
    module = torch.nn.ParameterDict({f"p{n}": torch.ones(1) for n in range(names)})
    load_weights(module, *save(tmp_path / "w", **module.state_dict()))


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.ckpt", "w.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_refused_whatever_its_name(tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(SpecError, match="a pickle"):
        weights_digest(str(tmp_path / name))
