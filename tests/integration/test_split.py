"""The split layout on real Ray fails and stops as the joined one does."""

from __future__ import annotations

import json
from collections.abc import Callable

import cv2
import numpy as np
import pyarrow.compute as pc
import pytest

from tests.integration.job import MODEL, Job, digits, write_folder, write_tar
from vision_batch.errors import ModelError
from vision_batch.ledger.verify import verify

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]

SPLIT = ("compute.layout=split", "compute.batch_size=16")


def model_that(first: str) -> str:
    """The digits' model, which does `first` before it answers."""
    return MODEL.replace("return self.layers(images)", f"{first}\n        return self.layers(images)")


def test_an_image_that_fails_in_the_model_costs_one_row(job: MakeJob, ray_address: str) -> None:
    it = job(code=model_that("if (images.amax((1, 2, 3)) < -1).any(): raise ValueError('black')"))
    images = digits(60)
    images[42] = cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes()
    images[43] = images[43][:200]
    write_folder(it.data, images)
    summary = it.run(ray_address, *SPLIT)
    assert (summary.status, summary.images_ok) == ("done", 58)
    assert summary.failures == {"model_error": 1, "truncated": 1}
    table = it.table()
    (row,) = table.filter(pc.equal(table["error_code"], "model_error")).to_pylist()
    assert (row["image_id"], row["width"], row["error"]) == ("00042.jpg", 32, "ValueError: black")
    assert verify(str(it.output), deep=True).ok


def test_labels_that_do_not_fit_end_the_run_before_anything_is_written(job: MakeJob, ray_address: str) -> None:
    it = job(model={"source": "python:model_code:build", "labels": ["a", "b", "c"]})
    for number in range(3):
        write_tar(it.data / f"{number}.tar", digits(30))
    with pytest.raises(ModelError, match=r"10 classes.*3 names"):
        it.run(ray_address, *SPLIT)
    assert list(it.output.glob("*.parquet")) == []
    runs = [json.loads(path.read_text()) for path in (it.output / "_ledger" / "runs").iterdir()]
    assert [run["status"] for run in runs] == ["failed"]


def test_a_model_that_fails_on_everything_ends_the_run(job: MakeJob, ray_address: str) -> None:
    it = job(code=model_that("raise ValueError('never works')"))
    for number in range(6):  # a chunk each, so that whole cells reach the gatherer before the model is judged
        write_tar(it.data / f"{number}.tar", digits(10))
    with pytest.raises(ModelError, match=r"every image of the first 3 batches.*never works"):
        it.run(ray_address, *SPLIT)
    assert list(it.output.glob("*.parquet")) == []


def test_a_device_that_fails_once_blames_no_image(job: MakeJob, ray_address: str) -> None:
    fail_once = (
        "import pathlib; once = pathlib.Path(ONCE)\n"
        "        if not once.exists():\n"
        "            once.touch(); raise RuntimeError('CUDA error: an illegal memory access was encountered')"
    )
    it = job(code=model_that(fail_once))
    once = it.folder / "failed-once"
    with (it.folder / "model_code.py").open("a") as code:
        code.write(f"\nONCE = {str(once)!r}\n")
    for number in range(2):
        write_tar(it.data / f"{number}.tar", digits(30))
    summary = it.run(ray_address, *SPLIT)
    assert once.exists()
    assert (summary.status, summary.images_ok, summary.failures) == ("done", 60, {})


def test_a_limit_takes_the_first_images_only(job: MakeJob, ray_address: str) -> None:
    it = job()
    for number in range(3):
        write_tar(it.data / f"{number}.tar", digits(20))
    summary = it.run(ray_address, "compute.layout=split", "compute.batch_size=5", limit=7)
    assert (summary.status, summary.images_ok) == ("done", 7)
    assert it.table()["image_id"].to_pylist() == [f"0/{i:05d}" for i in range(7)]
