"""Whether a lower precision is as good as fp32: bf16 is tried on the CPU, which computes it too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.integration.job import digits, write_folder
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import DeviceError, ModelError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.inference import precision_trial
from vision_batch.inference.precision_trial import Decision, PrecisionTrial
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.by_size import Sizes
from vision_batch.models.device import choose_device, lower_precision
from vision_batch.models.settings import ModelSettings
from vision_batch.tasks.settings import TaskSettings

CODE = """
import torch

class Model(torch.nn.Module):
    def __init__(self, amplified):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3 * 8 * 8, 10)
        self.amplified = amplified

    def forward(self, images):
        return self.layer(images.flatten(1)) * self.amplified

def build(amplified):
    return Model(amplified)
"""
CPU = torch.device("cpu")


def trial(folder: Path, amplified: float, labels: list[str] | None = None) -> PrecisionTrial:
    (folder / "net_code.py").write_text(CODE)
    model = ModelSettings(source="python:net_code:build", options={"amplified": amplified}, labels=labels)
    return PrecisionTrial(
        input=InputSettings(uri=str(folder / "data"), format="folder"),
        format="folder",
        preprocess=PreprocessSettings(resize_px=(8, 8)),
        function=None,
        model=resolve_model(model, folder),
        task=TaskSettings(type="classification"),
        max_pixels=10**6,
    )


def test_a_model_that_minds_no_rounding_gets_the_lower_precision(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", digits(100))
    decision = trial(tmp_path, amplified=1.0).decide(CPU, "bf16")
    assert decision.precision == "bf16"
    assert decision.reason.startswith("bf16 on 64 images: 6")
    assert "labels are those of fp32, and scores differ by at most 0.00" in decision.reason


def test_where_outputs_are_large_fewer_images_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_trial, "TRIAL_BYTES", 4 * 10 * 12)
    write_folder(tmp_path / "data", digits(40))
    assert trial(tmp_path, amplified=1.0).decide(CPU, "bf16").reason.startswith("bf16 on 16 images: 16 of 16")


def test_one_that_does_stays_exact(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", digits(20))
    decision = trial(tmp_path, amplified=1000.0).decide(CPU, "bf16")
    assert (decision.precision, decision.reason[:19]) == ("fp32", "bf16 on 20 images: ")


def test_bad_images_are_left_out_and_nothing_else_is_exact(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", [b"", b"no picture", digits(1)[0]])
    assert " on 1 images" in trial(tmp_path, amplified=1.0).decide(CPU, "bf16").reason
    (tmp_path / "data" / "00002.jpg").write_bytes(b"")
    decision = trial(tmp_path, amplified=1.0).decide(CPU, "bf16")
    assert decision.precision == "fp32"
    assert "none of the first 64 images" in decision.reason


def test_a_model_that_does_not_fit_the_task_is_refused_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", digits(2))
    with pytest.raises(ModelError, match="10 classes and"):
        trial(tmp_path, amplified=1.0, labels=["cat"]).decide(CPU, "bf16")


class Raising(torch.nn.Module):
    """Means of each channel; for more than `most` images it raises."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__()
        self.most = most
        self.error = error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.most:
            raise self.error
        return images.mean(dim=(2, 3))


def raising(folder: Path, most: int, error: Exception) -> Decision:
    write_folder(folder / "data", digits(20))
    tried = trial(folder, amplified=1.0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ModelBundle, "load", lambda bundle: Raising(most, error))
        return tried.decide(CPU, "bf16")


def test_a_device_that_holds_few_images_is_given_few(tmp_path: Path) -> None:
    assert raising(tmp_path, 3, torch.OutOfMemoryError("CUDA out of memory")).precision == "bf16"


class Sized(torch.nn.Module):
    """Notes the sizes of the pictures that it is given."""

    takes_sizes = True

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []

    def forward(self, images: torch.Tensor, sizes: Sizes) -> torch.Tensor:
        assert len(images) == len(sizes)
        self.sizes += sizes
        return images.mean(dim=(2, 3))


def test_a_model_that_sees_pictures_in_their_own_sizes_is_told_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "data", digits(20))
    bounded = PreprocessSettings(resize_shorter_px=8, longest_px=12)
    module = Sized()
    monkeypatch.setattr(ModelBundle, "load", lambda bundle: module)
    tried = replace(trial(tmp_path, amplified=1.0), preprocess=bounded)
    assert tried.decide(CPU, "bf16").precision == "bf16"
    assert module.sizes == [(8, 8)] * 40  # in both precisions


class Boxes(torch.nn.Module):
    """As many boxes as there are images, all of them where the image is bright."""

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        edges = torch.nn.functional.linear(images.mean(dim=(1, 2)), torch.eye(8))[:, :4].abs().cumsum(dim=1)
        return [
            {
                "boxes": edge.expand(k + 1, 4),
                "scores": edge.new_full((k + 1,), 0.9),
                "labels": torch.zeros(k + 1).long(),
            }
            for k, edge in enumerate(edges)
        ]


def test_boxes_are_compared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "data", digits(11))
    monkeypatch.setattr(ModelBundle, "load", lambda bundle: Boxes())
    tried = replace(trial(tmp_path, amplified=1.0), task=TaskSettings(type="detection"))
    decision = tried.decide(CPU, "bf16")
    assert decision.precision == "bf16"
    assert decision.reason == "bf16 on 11 images: 84 of 84 boxes of fp32 and of it are found again in the other"


def test_trouble_decides_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not enough memory for the model and one image"):
        raising(tmp_path, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(DeviceError):
        raising(tmp_path, 0, torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))


def test_what_the_model_itself_raises_does(tmp_path: Path) -> None:
    decision = raising(tmp_path, 0, ValueError("not for me"))
    assert (decision.precision, decision.reason) == ("fp32", "the trial of bf16 failed: ValueError: not for me")


def test_a_cpu_is_not_asked_for_anything_lower() -> None:
    assert lower_precision(CPU) is None


@pytest.mark.gpu
def test_a_gpu_is(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    write_folder(tmp_path / "data", digits(100))
    lower = lower_precision(choose_device())
    assert lower in ("bf16", "fp16")
    assert trial(tmp_path, amplified=1.0)().precision == lower
    assert trial(tmp_path, amplified=10_000.0)().precision == "fp32"
