"""Trains the demo's model in this process: plain torch, a few seconds on one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import safetensors.torch
import torch
from torch.nn.functional import cross_entropy, pad

from vision_batch.datasets.listing import list_input
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.table import format_named
from vision_batch.errors import ImageError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.jobs.spec import AnySpec
from vision_batch.models.labels import read_labels
from vision_batch.plugin import find_plugin

EPOCHS = 8
BATCH_IMAGES = 64
PEAK_LEARNING_RATE = 1e-2
SHIFT_PX = 2
SEED = 0


def train_weights(spec: AnySpec, tars: str) -> bytes:
    """The weights of the spec's plug-in model, trained on `tars`, as safetensors.

    `tars` is the glob of the training shards. They are read and preprocessed by the code that predicts.
    """
    model, preprocess = spec.settings.model, spec.settings.preprocess
    assert preprocess is not None, "load_spec demands it where the model is a plug-in"
    pixels, truths = _read(spec, preprocess, tars)
    classes = read_labels(model.labels, spec.folder) or ()
    labels = torch.tensor([classes.index(truth) for truth in truths])
    factory = find_plugin(model.source.removeprefix("python:"), spec.folder, where="model.source").load()
    with _one_seeded_thread():
        module: torch.nn.Module = factory(**model.options)
        _fit(module, _normalise(pixels, preprocess), labels)
    return safetensors.torch.save(module.state_dict())


def _read(spec: AnySpec, preprocess: PreprocessSettings, tars: str) -> tuple[np.ndarray, list[str]]:
    """Pixels, uint8 (N, H, W, 3), and truths of the images that can be used."""
    preprocessor = Preprocessor(preprocess, max_pixels=spec.settings.limits.max_pixels)
    pixels: list[np.ndarray] = []
    truths: list[str] = []
    for sample in _samples(spec, tars):
        try:
            pixels.append(preprocessor(sample.data or b"").pixels)
        except ImageError:
            continue
        truths.append(sample.truth)
    return np.stack(pixels), truths


def _samples(spec: AnySpec, tars: str) -> Iterator[Sample]:
    settings = spec.settings.input
    format = format_named("webdataset")
    listing = list_input(tars)
    for file in listing:
        for shard in format.cut(file, listing.root, "", settings):
            yield from format.read(shard, settings, lambda row: True)


def _normalise(pixels: np.ndarray, settings: PreprocessSettings) -> torch.Tensor:
    """float32 (N, 3, H, W), as the predictor makes of the same pixels on its device."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (settings.mean, settings.std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std


def _fit(module: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Some epochs of AdamW with one cycle of the learning rate, every batch shifted a little; ends in eval mode."""
    optimizer = torch.optim.AdamW(module.parameters())
    batches = -(-len(images) // BATCH_IMAGES)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * batches)
    module.train()
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(images)), BATCH_IMAGES):
            optimizer.zero_grad()
            logits = module(_shifted(images[chosen]))
            torch.autograd.backward(cross_entropy(logits, labels[chosen], label_smoothing=0.1))
            optimizer.step()
            schedule.step()
    module.eval()


def _shifted(images: torch.Tensor) -> torch.Tensor:
    """Moved by up to SHIFT_PX in each direction; what comes in from outside is the edge again."""
    height, width = images.shape[2:]
    top, left = torch.randint(0, 2 * SHIFT_PX + 1, (2,)).tolist()
    return pad(images, (SHIFT_PX,) * 4, mode="replicate")[:, :, top : top + height, left : left + width]


@contextmanager
def _one_seeded_thread() -> Iterator[None]:
    """The same weights on every run of a machine; torch is left as it was found."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            yield
    finally:
        torch.set_num_threads(threads)
