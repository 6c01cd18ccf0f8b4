"""Images that come through CPU actors are those that a worker would have made itself, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.catalogues import catalogue_of
from tests.training.inputs import CLASSES, write_tars
from vision_batch.errors import VisionBatchError
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.settings import PreprocessSettings
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.bundle import ModelBundle
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.batch import Batch, Ingest
from vision_batch.training.ingest import joined_ingests
from vision_batch.training.job import TrainJob
from vision_batch.training.settings import TrainSettings, ValidationSettings
from vision_batch.training.split_ingest import split_ingests

pytestmark = pytest.mark.ray

IMAGES = 150
NO_MODEL = ModelBundle(
    kind="python",
    location="",
    plugin=None,
    options={},
    weights=None,
    weights_bytes=None,
    labels=CLASSES,
    preprocess=None,
    facts={},
)


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    """A job on tars whose first is damaged, with augmentation and a part for validation."""
    settings = write_tars(tmp_path / "data", IMAGES)
    with (tmp_path / "data" / "00000.tar").open("r+b") as tar:
        tar.seek(20_000)
        tar.write(b"\xff" * 1000)
    validation = ValidationSettings(fraction=0.2)
    catalogue_of(tmp_path / "out", settings, labels=CLASSES, validation=validation)
    return TrainJob(
        paths=LedgerPaths(str(tmp_path / "out")),
        run_id="run",
        definition="",
        input=settings,
        validation=validation,
        validation_input=None,
        preprocess=PreprocessSettings(resize_px=(8, 8)),
        augment=(AugmentSettings.model_validate("brightness"),),
        function=None,
        model=NO_MODEL,
        task=TaskSettings(type="classification"),
        labels=CLASSES,
        class_images=None,
        train=TrainSettings(epochs=2, seed=3),
        max_pixels=10**6,
        precision="fp32",
    )


@pytest.fixture
def connected(ray_address: str) -> Iterator[None]:
    import ray

    ray.init(address=ray_address, log_to_driver=False)
    yield
    ray.shutdown()


def facts(batch: Batch) -> tuple[Any, ...]:
    return batch.start, batch.stop, batch.image_ids, batch.broken, batch.identities.tolist(), batch.checksum


def assert_alike(ours: Ingest, theirs: Ingest, **where: int) -> int:
    """How many images there were."""
    images = 0
    batches = zip(ours.batches(**where), theirs.batches(**where), strict=True)  # type: ignore[arg-type]
    for one, other in batches:
        assert facts(one) == facts(other)
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.targets, other.targets)
        images += len(one) + len(one.broken)
    return images


def test_split_and_joined_give_the_same_batches(connected: None, job: TrainJob) -> None:
    joined, joined_validation = joined_ingests(job, threads=1)
    split, split_validation = split_ingests(job, preprocessors=4, cpus_per_preprocessor=1, threads=1)
    assert joined_validation is not None
    assert split_validation is not None
    assert (split.images, split.checksum(1)) == (joined.images, joined.checksum(1))
    with closing(joined), closing(joined_validation), closing(split), closing(split_validation):
        images = assert_alike(split, joined, epoch=1, start=30, rank=1, workers=2, batch_images=8)
        assert images == (joined.images - 30) // 2
        measured = assert_alike(
            split_validation, joined_validation, epoch=1, start=0, rank=0, workers=1, batch_images=9
        )
        assert measured == joined_validation.images
        assert list(split.batches(epoch=0, start=joined.images, rank=0, workers=1, batch_images=1)) == []


def test_error_of_the_storage_comes_as_it_is(connected: None, job: TrainJob, tmp_path: Path) -> None:
    split, _ = split_ingests(job, preprocessors=1, cpus_per_preprocessor=1, threads=1)
    (tmp_path / "data" / "00037.tar").unlink()
    with pytest.raises(VisionBatchError, match=r"00037\.tar"):
        list(split.batches(epoch=0, start=0, rank=0, workers=1, batch_images=8))
