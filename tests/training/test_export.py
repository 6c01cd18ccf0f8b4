"""An exported program is written only if it says what the module says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models.archives import Small
from vision_batch.errors import ModelError
from vision_batch.models.export_program import load_program
from vision_batch.training import export as export_module
from vision_batch.training.export import export_checked

PIXELS = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), np.uint8)
HALVES = (0.5, 0.5, 0.5)


def exported(module: torch.nn.Module, pixels: np.ndarray = PIXELS) -> bytes:
    return export_checked(module.eval(), pixels, size=(16, 16), mean=HALVES, std=HALVES)


class Branching(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))


class Double(torch.nn.Module):
    """Answers with a dict, as models of several outputs do."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": images.mean((2, 3)), "all": images}


class Drifting(torch.nn.Module):
    """Answers another number each time that it is called from Python."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return images.mean((2, 3)) + self.calls


def test_a_program_takes_any_batch_and_agrees() -> None:
    module = Small()
    data = exported(module)
    for count in (1, 7):
        images = torch.rand(count, 3, 16, 16)
        torch.testing.assert_close(load_program(data, "p")(images), module(images))


def test_no_picture_of_the_validation_is_needed() -> None:
    assert exported(Small(), PIXELS[:0])


def test_outputs_may_be_nested() -> None:
    assert exported(Double())


def test_what_branches_on_its_input_is_not_exported() -> None:
    with pytest.raises(ModelError, match=r"torch\.export cannot trace it: "):
        exported(Branching())


def test_a_program_that_differs_is_not_exported() -> None:
    with pytest.raises(ModelError, match=r"the exported program's outputs differ from the module's by 0\.\d+ of"):
        exported(Drifting())


def test_a_difference_is_seen_on_real_pictures_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only white pictures: no random one is."""

    class WhiteIsSpecial(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    module = WhiteIsSpecial()
    load = export_module.load_program

    def changed(data: bytes, name: str) -> torch.nn.Module:
        program = load(data, name)
        program.register_forward_hook(lambda _, inputs, outputs: outputs + (inputs[0].amin((1, 2, 3)) > 0.9)[:, None])
        return program

    monkeypatch.setattr(export_module, "load_program", changed)
    assert exported(module)
    with pytest.raises(ModelError, match="outputs differ"):
        exported(module, np.full((2, 16, 16, 3), 255, np.uint8))


def test_a_program_that_serving_would_refuse_is_not_written() -> None:
    class Named(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"it's": images}

    with pytest.raises(ModelError, match=r"model.pt2 is refused"):
        exported(Named())
