"""A model, called on uint8 pixels."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vision_batch.errors import DeviceError, ModelError
from vision_batch.models.device import choose_device, give_memory_back, limit_memory, usable_share
from vision_batch.models.predictor import Predictor, device_errors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Calls(torch.nn.Module):
    """A module that is any function."""

    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: torch.Tensor) -> Any:
        return self.function(images)


def predictor(function: Callable[[torch.Tensor], Any], precision: str = "fp32") -> Predictor:
    return Predictor(Calls(function), mean=MEAN, std=STD, precision=precision, device=torch.device("cpu"))


def pixels(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 20, 30, 3), dtype=np.uint8)


def test_the_module_gets_normalised_channels_first_images() -> None:
    given = pixels()
    wanted = (given.astype(np.float64) / 255 - MEAN) / STD
    got = predictor(lambda images: images)(given)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted.transpose(0, 3, 1, 2), atol=2e-6)


def test_they_lie_in_memory_channels_last() -> None:
    strides: list[bool] = []
    predictor(lambda images: strides.append(images.is_contiguous(memory_format=torch.channels_last)) or images)(
        pixels()
    )
    assert strides == [True]


def test_pixels_that_may_not_be_written_or_are_not_contiguous_are_fine_and_stay_as_they_are() -> None:
    given = pixels()
    wanted = predictor(lambda images: images)(given)
    frozen = given.copy()
    frozen.flags.writeable = False
    assert np.array_equal(predictor(lambda images: images)(frozen), wanted)
    assert np.array_equal(predictor(lambda images: images)(given[:, :, ::-1][:, :, ::-1]), wanted)
    assert np.array_equal(given, frozen)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)]
)
def test_precision_is_that_of_the_arithmetic_and_outputs_are_float32(precision: str, dtype: torch.dtype) -> None:
    seen: list[torch.dtype] = []
    weight = torch.ones(30, 4)

    def multiply(images: torch.Tensor) -> torch.Tensor:
        product = images.mean(dim=(1, 2)) @ weight
        seen.append(product.dtype)
        return product

    outputs = predictor(multiply, precision)(pixels())
    assert (seen, outputs.dtype, outputs.shape) == ([dtype], np.float32, (3, 4))


def test_nothing_is_recorded_for_gradients() -> None:
    layer = torch.nn.Linear(30, 2)
    outputs: list[torch.Tensor] = []
    predictor(lambda images: outputs.append(layer(images.mean(dim=(1, 2)))) or outputs[0])(pixels())
    assert outputs[0].is_inference()


def test_nested_outputs_keep_their_structure() -> None:
    def nested(images: torch.Tensor) -> Any:
        count = torch.arange(len(images))
        return OrderedDict(logits=images.mean(dim=(2, 3)).bfloat16(), more=[{"labels": count}, (count,)])

    outputs = predictor(nested)(pixels())
    assert list(outputs) == ["logits", "more"]
    assert outputs["logits"].dtype == np.float32
    assert outputs["more"][0]["labels"].tolist() == outputs["more"][1][0].tolist() == [0, 1, 2]


def test_a_list_with_a_dict_for_each_image_keeps_their_sizes_and_types() -> None:
    def ragged(images: torch.Tensor) -> Any:
        return [
            {"boxes": image.new_ones(k, 4).bfloat16(), "labels": torch.full((k,), k), "masks": torch.ones(k, 2, 2) > 0}
            for k, image in enumerate(images)
        ]

    outputs = predictor(ragged, "bf16")(pixels())
    assert [image["boxes"].shape for image in outputs] == [(0, 4), (1, 4), (2, 4)]
    assert {(image["boxes"].dtype, image["labels"].dtype, image["masks"].dtype) for image in outputs} == {
        (np.dtype(np.float32), np.dtype(np.int64), np.dtype(bool))
    }


def test_an_output_that_holds_no_tensors() -> None:
    with pytest.raises(ModelError, match="returned a str; expected tensors"):
        predictor(lambda images: "cat")(pixels())


class TestErrors:
    @staticmethod
    def raised(error: BaseException) -> BaseException:
        def fail(_: torch.Tensor) -> None:
            raise error

        with pytest.raises(type(error) if not isinstance(error, RuntimeError) else Exception) as caught:
            predictor(fail)(pixels())
        return caught.value

    @pytest.mark.parametrize(
        "error",
        [
            torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
            RuntimeError("CUDA error: device-side assert triggered"),
            RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
            RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        ],
    )
    def test_the_accelerators_are_device_errors(self, error: RuntimeError) -> None:
        raised = self.raised(error)
        assert isinstance(raised, DeviceError)
        assert str(raised) == str(error)
        assert raised.__cause__ is error

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"),
            RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
            ValueError("image too wide for CUDA error handling"),
        ],
    )
    def test_all_others_pass_unchanged(self, error: Exception) -> None:
        assert self.raised(error) is error

    def test_memory_that_runs_out_where_no_batch_can_be_halved_is_the_devices_fault(self) -> None:
        with pytest.raises(DeviceError, match="out of memory"), device_errors(of_batch=False):
            raise torch.AcceleratorError("CUDA error: out of memory")


def test_an_unknown_precision_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        predictor(lambda images: images, "auto")


def test_without_an_accelerator_the_device_is_the_cpu() -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is an accelerator")
    assert choose_device() == torch.device("cpu")


def test_what_is_kept_of_an_answer_does_not_change_with_the_next_batch() -> None:
    predict = predictor(lambda images: {"same": images, "view": images[:, :1], "other": images + 1})
    given, other = pixels(), 255 - pixels()
    first = predict.start(given)
    wanted = {name: value.copy() for name, value in predict(given).items()}
    predict(other)
    for name, value in first().outputs.items():
        assert np.array_equal(value, wanted[name])


def test_an_answer_says_what_the_copies_and_the_model_took() -> None:
    answer = predictor(lambda images: time.sleep(0.05) or images).start(pixels())()
    assert answer.model_s >= 0.05
    assert 0 < answer.copy_s < 0.05


def test_processes_that_share_a_gpu_take_no_more_than_all_of_it_together() -> None:
    total_bytes = 16 << 30
    for sharers in (2, 3, 8):
        assert sharers * (usable_share(1 / sharers, total_bytes) * total_bytes + (600 << 20)) <= total_bytes * 1.0001
    assert usable_share(0.01, total_bytes) == 0.005


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return choose_device()


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(gpu: torch.device) -> None:
    on_gpu = Predictor(Calls(lambda images: images), mean=MEAN, std=STD, precision="fp32", device=gpu)
    cpu = predictor(lambda images: images)
    for count in (4, 2, 7):
        np.testing.assert_allclose(on_gpu(pixels(count)), cpu(pixels(count)), atol=2e-6)


@pytest.mark.gpu
def test_batches_in_work_at_the_same_time_do_not_disturb_each_other(gpu: torch.device) -> None:
    def slowly(images: torch.Tensor) -> Any:
        torch.cuda._sleep(20_000_000)  # so that copies of the later batches overlap with the first one's work
        return images.mean(dim=(2, 3)), {"largest": images.amax(dim=(1, 2, 3))}

    on_gpu = Predictor(Calls(slowly), mean=MEAN, std=STD, precision="fp32", device=gpu)
    dice = np.random.default_rng(0)
    batches = [dice.integers(0, 256, (count, 64, 48, 3), dtype=np.uint8) for count in (9, 9, 3, 9, 1, 9)]
    answers = [on_gpu.start(batch.copy()) for batch in batches]
    for batch, answer in zip(batches, answers, strict=True):
        normalised = (batch / 255 - MEAN) / STD
        means, more = answer().outputs
        np.testing.assert_allclose(means, normalised.mean(axis=(1, 2)), atol=1e-5)
        np.testing.assert_allclose(more["largest"], normalised.max(axis=(1, 2, 3)), atol=1e-5)


@pytest.mark.gpu
def test_a_batch_that_a_gpu_has_no_memory_for_leaves_room_for_smaller_ones(gpu: torch.device) -> None:
    free_bytes, _ = torch.cuda.mem_get_info(gpu)

    def hungry(images: torch.Tensor) -> torch.Tensor:
        return torch.empty(len(images), free_bytes // 6, dtype=torch.uint8, device=images.device)[:, :4].float()

    on_gpu = Predictor(Calls(hungry), mean=MEAN, std=STD, precision="fp32", device=gpu)
    with pytest.raises(torch.OutOfMemoryError):
        on_gpu(pixels(8))
    give_memory_back()
    assert on_gpu(pixels(4)).shape == (4, 4)


@pytest.mark.gpu
def test_a_process_with_a_share_of_a_gpu_runs_out_of_memory_within_it(gpu: torch.device) -> None:
    total_bytes = torch.cuda.get_device_properties(gpu).total_memory
    limit_memory(gpu, 0.1)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(total_bytes // 8, dtype=torch.uint8, device=gpu)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
