"""Images that kill the process that works on them, on real Ray: found, and nobody else is harmed or blamed."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.faults.chaos_processes import RunProcess
from tests.integration.job import MODEL, Job, digits, write_tar
from vision_batch.errors import ModelError
from vision_batch.inference.memory import THRESHOLD_VARIABLE, memory_bytes
from vision_batch.jobs.predict import PredictRun
from vision_batch.ledger.verify import verify

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]

BLACK, WHITE = (cv2.imencode(".png", np.full((32, 32, 3), value, np.uint8))[1].tobytes() for value in (0, 255))

ARMED = "armed"
"""While a file of this name is beside the spec a black picture kills in the plug-in, a white one in the model."""

PLUG_IN = """
import os, pathlib

def step(image):
    if not image.any() and pathlib.Path(FOLDER, "armed").exists():
        os.kill(os.getpid(), 9)
    return image
"""

GROWING = """
import numpy as np

def grow(image):
    held = []
    while not image.any():
        held.append(np.ones(16 << 20, np.uint8))
    return image
"""

KILLS = 25

SEGFAULT = "import ctypes; ctypes.string_at(0)"

KILLING_MODEL = MODEL.replace(
    "return self.layers(images)",
    "import pathlib\n"
    f"        if (images.amin((1, 2, 3)) > 2).any() and pathlib.Path(FOLDER, 'armed').exists(): {SEGFAULT}\n"
    "        return self.layers(images)",
)


@pytest.fixture(scope="module")
def dangerous(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> tuple[Job, pa.Table]:
    """A job on three tars of 40 images, three of them deadly, and its rows when nothing kills."""
    folder = tmp_path_factory.mktemp("dangerous")
    (folder / "steps.py").write_text(f"FOLDER = {str(folder)!r}\n{PLUG_IN}")
    code = f"FOLDER = {str(folder)!r}\n{KILLING_MODEL}"
    it = Job(folder, {"code": code, "preprocess": {"resize_px": [28, 28], "function": "steps:step"}})
    for number, deadly in enumerate([{17: BLACK, 18: WHITE}, {}, {0: WHITE}]):
        write_tar(it.data / f"{number}.tar", [deadly.get(i, image) for i, image in enumerate(digits(40))])
    it.run(ray_address, "compute.batch_size=16", output=str(folder / "undisturbed"))
    table = it.table(folder / "undisturbed")
    (folder / ARMED).touch()
    return it, table


@pytest.mark.parametrize("layout", ["joined", pytest.param("split", marks=pytest.mark.slow)])
def test_images_that_kill_cost_their_rows_and_no_other(
    dangerous: tuple[Job, pa.Table], ray_address: str, layout: str, tmp_path: Path
) -> None:
    it, expected = dangerous
    settings = (f"compute.layout={layout}", "compute.batch_size=16", "compute.predictors=1")
    summary = it.run(ray_address, *settings, output=str(tmp_path / "out"))
    assert (summary.status, summary.images_ok, summary.failures) == ("done", 117, {"worker_killed": 3})
    table = it.table(tmp_path / "out")
    assert table["image_id"].equals(expected["image_id"])
    killed = pc.is_valid(table["error_code"])
    errors = {row["image_id"]: row["error"] for row in table.filter(killed).to_pylist()}
    assert sorted(errors) == ["0/00017", "0/00018", "2/00000"]
    assert "killed by signal 9 (SIGKILL)" in errors["0/00017"]
    assert "killed by signal 11 (SIGSEGV)" in errors["0/00018"]
    kept, others = table.filter(pc.invert(killed)), expected.filter(pc.invert(killed))
    assert kept["label"].equals(others["label"])
    assert kept["score"].to_pylist() == pytest.approx(others["score"].to_pylist(), abs=1e-5)
    assert verify(str(tmp_path / "out"), deep=True).ok


class DeadlyLimits(dict[str, int]):
    """Is asked for a shard's limit by whoever begins to read it."""

    def __getitem__(self, shard: str) -> int:
        if shard == "0.tar":
            os.kill(os.getpid(), signal.SIGKILL)
        return 40


@pytest.mark.parametrize("layout", ["joined", pytest.param("split", marks=pytest.mark.slow)])
def test_a_shard_that_kills_its_readers_is_left_undone_and_no_other(
    job: MakeJob, ray_address: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = job()
    for number in range(2):
        write_tar(it.data / f"{number}.tar", digits(40))
    make_job = PredictRun._job
    monkeypatch.setattr(PredictRun, "_job", lambda *facts: replace(make_job(*facts), row_limits=DeadlyLimits()))
    summary = it.run(ray_address, f"compute.layout={layout}", "compute.batch_size=16", "compute.predictors=1")
    assert (summary.status, summary.shards_done, summary.images_ok, summary.images_failed) == ("incomplete", 1, 40, 0)
    (warning,) = [text for text in summary.warnings if text.startswith("0.tar")]
    assert re.search(r"0\.tar: its reading kills: 3 processes.*killed by signal 9 \(SIGKILL\)", warning)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["joined", "split"])
def test_workers_killed_from_outside_blame_no_image_and_do_not_end_the_run(job: MakeJob, layout: str) -> None:
    """Actors and the children of careful ones, as often as a call may be repeated and more."""
    it = job(code=MODEL.replace("return self.layers", "import time; time.sleep(0.5)\n        return self.layers"))
    for number in range(45):  # work for longer than so many kills take
        write_tar(it.data / f"{number:02d}.tar", digits(40))
    dice, killed = random.Random(0), Counter[bool]()
    run = RunProcess(["run", str(it.spec), "-o", f"compute.layout={layout}"], it.folder / "log.txt", {})
    try:
        while run.exit_code is None:
            time.sleep(dice.uniform(0.5, 3))
            workers = run.processes("worker")
            if workers and killed.total() < KILLS:
                worker = dice.choice(workers)
                worker.send(signal.SIGKILL)
                killed[not worker.title.startswith("ray::")] += 1
    finally:
        run.kill_all()
    assert (run.exit_code, killed.total()) == (0, KILLS), run.said()
    assert killed[True] > 0, "no child was killed"
    table = it.table()
    assert (table.num_rows, table["error_code"].null_count) == (1800, 1800)
    assert verify(str(it.output), deep=True).ok


@pytest.mark.slow
def test_an_image_that_takes_memory_without_end_costs_its_row(job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's memory monitor ends the actor, 2 GiB from here, and the actor's next life its child, at half of that."""
    it = job(preprocess={"resize_px": [28, 28], "function": "steps:grow"})
    (it.folder / "steps.py").write_text(GROWING)
    images = digits(40)
    images[7] = BLACK
    write_tar(it.data / "0.tar", images)
    total, used = memory_bytes() or (0, 0)
    monkeypatch.setenv(THRESHOLD_VARIABLE, str((used + (2 << 30)) / total))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    summary = it.run(None, "compute.batch_size=16")
    assert (summary.status, summary.images_ok, summary.failures) == ("done", 39, {"worker_killed": 1})
    (row,) = it.table().filter(pc.is_valid(it.table()["error"])).to_pylist()
    assert row["image_id"] == "0/00007"
    assert "it ran out of memory, having taken" in row["error"]


@pytest.mark.slow
def test_a_model_that_kills_on_everything_ends_the_run_and_blames_no_image(job: MakeJob, ray_address: str) -> None:
    it = job(code=MODEL.replace("return self.layers(images)", SEGFAULT))
    for number in range(3):
        write_tar(it.data / f"{number}.tar", digits(40))
    with pytest.raises(ModelError, match=r"5 images one after the other.*signal 11 \(SIGSEGV\)"):
        it.run(ray_address, "compute.batch_size=16")
    assert list(it.output.glob("*.parquet")) == []


def test_a_model_that_kills_when_it_is_loaded_ends_the_run(job: MakeJob, ray_address: str) -> None:
    it = job(code=MODEL.replace("return Model(classes)", SEGFAULT))
    write_tar(it.data / "0.tar", digits(10))
    with pytest.raises(ModelError, match=r"before the first image.*signal 11 \(SIGSEGV\)"):
        it.run(ray_address)
