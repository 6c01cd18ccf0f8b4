"""A predictor whose module is compiled for one batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from vision_batch.errors import ModelError
from vision_batch.models.by_size import BySize
from vision_batch.models.compiled import CompiledPredictor
from vision_batch.models.device import choose_device
from vision_batch.models.predictor import Predictor

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch's own code, about itself


class Calls(torch.nn.Module):
    """A module that is any function, and knows how many images came."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.batches: list[int] = []

    def forward(self, images: torch.Tensor) -> Any:
        self.batches.append(len(images))
        return self.function(images)


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """torch.compile's own way to have what it compiled run as it was written: nothing here is about its compilers."""
    with torch.compiler.set_stance("force_eager"):
        yield


def predictor(module: torch.nn.Module, device: str = "cpu") -> Predictor:
    return Predictor(module, mean=(0, 0, 0), std=(1, 1, 1), precision="fp32", device=torch.device(device))


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)


@pytest.mark.usefixtures("uncompiled")
def test_smaller_batches_are_padded_and_nothing_is_said_of_the_padding() -> None:
    module = Calls(lambda images: images.mean(dim=(2, 3)))
    compiled = CompiledPredictor(predictor(module), 8, [].append)
    for count in (8, 3, 1):
        np.testing.assert_allclose(
            compiled.start(pixels(count))().outputs, pixels(count).mean(axis=(1, 2)) / 255, atol=1e-6
        )
    assert module.batches == [8, 8, 8]


@pytest.mark.usefixtures("uncompiled")
def test_pictures_of_many_sizes_are_refused_where_the_model_would_see_them() -> None:
    blind, seeing = Calls(lambda images: images), BySize(Calls(lambda images: images))
    sizes = [(6, 8), (5, 8)]
    assert len(CompiledPredictor(predictor(blind), 2, [].append).start(pixels(2), sizes)().outputs) == 2
    with pytest.raises(ModelError, match=r"preprocess\.longest_px.*set compute\.compile to false"):
        CompiledPredictor(predictor(seeing), 2, [].append).start(pixels(2), sizes)


def hungry(most: int) -> Calls:
    """For more than `most` images there is no memory."""

    def call(images: torch.Tensor) -> torch.Tensor:
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images

    return Calls(call)


@pytest.mark.usefixtures("uncompiled")
def test_the_size_is_halved_when_memory_runs_out() -> None:
    module, told = hungry(3), list[int]()
    compiled = CompiledPredictor(predictor(module), 8, told.append)
    for count in (8, 4):
        with pytest.raises(torch.OutOfMemoryError):
            compiled.start(pixels(count))
    for count in (2, 1):
        assert len(compiled.start(pixels(count))().outputs) == count
    assert module.batches == [8, 4, 2, 2]
    assert told == [8, 4]


@pytest.mark.usefixtures("uncompiled")
def test_a_short_batch_for_whose_padding_there_is_no_memory_gets_less_of_it() -> None:
    module, told = hungry(3), list[int]()
    compiled = CompiledPredictor(predictor(module), 8, told.append)
    np.testing.assert_allclose(compiled.start(pixels(1))().outputs[:, :, 0, 0], pixels(1)[:, 0, 0] / 255, atol=1e-6)
    assert (module.batches, told) == ([8, 4, 2], [8, 4])


@pytest.mark.usefixtures("uncompiled")
def test_one_image_alone_may_need_too_much() -> None:
    module = hungry(0)
    with pytest.raises(torch.OutOfMemoryError):
        CompiledPredictor(predictor(module), 4, [].append).start(pixels(1))
    assert module.batches == [4, 2, 1]


@pytest.mark.usefixtures("uncompiled")
def test_what_cannot_be_compiled_ends_the_run_with_a_way_out() -> None:
    def fail(images: torch.Tensor) -> torch.Tensor:
        raise torch._dynamo.exc.TorchDynamoException("no C++ compiler found")

    with pytest.raises(ModelError, match=r"set compute\.compile to false: no C\+\+ compiler found"):
        CompiledPredictor(predictor(Calls(fail)), 2, [].append).start(pixels(1))


@pytest.mark.usefixtures("uncompiled")
def test_of_a_list_with_a_dict_for_each_image_those_of_the_padding_are_left_out() -> None:
    module = Calls(lambda images: [{"boxes": image.new_zeros(index, 4)} for index, image in enumerate(images)])
    answer = CompiledPredictor(predictor(module), 8, [].append).start(pixels(3))()
    assert [image["boxes"].shape for image in answer.outputs] == [(0, 4), (1, 4), (2, 4)]


@pytest.mark.slow
def test_a_compiled_model_says_what_the_plain_one_says() -> None:
    """By inductor, which needs a C++ compiler on a CPU and Triton on a GPU, and takes half a minute."""
    counters.clear()
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(96, 5)
    module, device = torch.nn.Sequential(*layers).eval(), str(choose_device())
    expected = {count: predictor(module, device)(pixels(count)) for count in (4, 3)}
    try:
        compiled = CompiledPredictor(predictor(module, device), 4, [].append)
        answers = {count: compiled.start(pixels(count))().outputs for count in (4, 3)}
        assert counters["stats"]["unique_graphs"] == 1
    except ModelError as error:
        pytest.skip(str(error))
    for count, answer in answers.items():
        np.testing.assert_allclose(answer, expected[count], atol=1e-5)
