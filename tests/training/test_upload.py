"""What comes to the device is what predict makes of the same pixels."""

from __future__ import annotations

import time

import numpy as np
import torch

from vision_batch.models.predictor import Predictor
from vision_batch.training.upload import IdleClock, Upload

CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_images_are_normalised_as_in_predict() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
    images = Upload(CPU, MEAN, STD).images(pixels)
    predicted = Predictor(torch.nn.Identity(), mean=MEAN, std=STD, precision="fp32", device=CPU)(pixels)
    assert images.shape == (3, 3, 5, 7)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(images.numpy(), predicted)


def test_pixels_that_are_not_to_be_written_to_are_taken_too() -> None:
    pixels = np.frombuffer(bytes(range(2 * 3 * 4 * 3)), np.uint8).reshape(2, 3, 4, 3)
    upload = Upload(CPU, MEAN, STD)
    assert torch.equal(upload.images(pixels), upload.images(pixels.copy()))
    assert torch.equal(upload.images(pixels[:, ::-1]), upload.images(pixels[:, ::-1].copy()))


def test_targets_may_change_afterwards() -> None:
    for values in (np.arange(3), np.arange(6).reshape(2, 3)[:, ::2], np.ones((1, 2, 2), np.uint8)):
        before = values.copy()
        copy = Upload(CPU, MEAN, STD).plain(values)
        values += 1
        assert np.array_equal(copy.numpy(), before)


def test_a_cpu_is_idle_while_it_waits() -> None:
    clock = IdleClock(CPU)
    clock.busy()
    time.sleep(0.02)
    clock.fed()
    assert 0.02 <= clock.idle_s() < 2
