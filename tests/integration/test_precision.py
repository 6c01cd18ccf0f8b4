"""What `precision: auto` stands for is tried once for an output, before it is claimed, and then stays."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tests.integration.job import Job, digits, write_folder
from vision_batch.cluster.connect import connected
from vision_batch.errors import DefinitionError, EngineError, ForbiddenError
from vision_batch.inference import execute, precision_trial
from vision_batch.inference.layout import choose_layout
from vision_batch.inference.precision_trial import Decision, PrecisionTrial, decide_precision
from vision_batch.inference.settings import ComputeSettings
from vision_batch.jobs.prepare import prepare
from vision_batch.jobs.reporter import Standing
from vision_batch.jobs.spec import load_spec
from vision_batch.ledger.definition import read_definition
from vision_batch.ledger.paths import LedgerPaths

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]
AUTO = "compute.precision=auto"


class Notes:
    """A reporter that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def wait(self, what: str | None) -> None: ...

    def start(self, standing: Standing) -> None: ...

    def expect(self, total: int) -> None: ...

    def advance(self, images: int, failed: int) -> None: ...

    def complete(self, shards: int) -> None: ...

    def finish(self) -> None: ...


def recorded(output: str) -> str:
    claimed = read_definition(LedgerPaths(output))
    assert claimed is not None
    return str(claimed.definition.facts["precision"])


def test_it_is_tried_where_predictors_have_gpus_then_said_and_recorded_with_the_run(
    job: MakeJob, ray_address: str
) -> None:
    """The cluster's GPUs are numbers only: the trial finds a CPU there."""
    it, notes = job(), Notes()
    write_folder(it.data, digits(10))
    summary = it.run(ray_address, AUTO, "compute.batch_size=8", reporter=notes)
    (said,) = [note for note in notes.said if note.startswith("precision ")]
    assert said == "precision fp32, for this output for good (cpu computes in nothing lower as well)"
    assert recorded(str(it.output)) == "fp32"
    record = json.loads(Path(it.output / "_ledger" / "runs" / f"{summary.run_id}.json").read_text())
    assert (record["status"], record["counts"]["images_ok"], record["counts"]["precision"]) == ("done", 10, "fp32")
    assert record["predictors"] == list(summary.predictors)
    assert record["counts"]["batch_sizes"] == dict.fromkeys(summary.predictors, 8)


def test_no_later_run_asks_again(job: MakeJob, ray_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    it = job()
    write_folder(it.data, digits(5))
    decision = Decision(precision="bf16", reason="as it were")
    monkeypatch.setattr(precision_trial, "decide_precision", lambda trial, layout: decision)
    assert it.run(ray_address, AUTO).precision == recorded(str(it.output)) == "bf16"
    monkeypatch.delattr(precision_trial, "decide_precision")
    (it.data / "new.jpg").write_bytes(digits(6)[5])
    again = it.run(ray_address, AUTO)
    assert (again.precision, again.images_ok, again.images_resumed) == ("bf16", 6, 5)
    with pytest.raises(DefinitionError, match="precision"):
        it.run(ray_address, "compute.precision=fp32")


class Deadly(PrecisionTrial):
    """As an image does that kills whoever decodes it."""

    def __call__(self) -> Decision:
        os._exit(3)


def test_a_gpu_that_does_not_come_free_decides_nothing_and_an_image_that_kills_for_fp32(
    job: MakeJob, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = job()
    write_folder(it.data, digits(1))
    trial = prepare(load_spec(it.spec, [AUTO])).precision_trial()
    deadly = Deadly(**{field.name: getattr(trial, field.name) for field in fields(trial)})
    with connected(ray_address) as resources:
        layout = choose_layout(resources, ComputeSettings(), shards=1, output_px=(28, 28))
        assert layout.gpus_per_predictor == 1
        decision = decide_precision(deadly, layout)
        assert decision is not None
        assert (decision.precision, decision.reason.split(",")[0]) == ("fp32", "the trial's process died 3 times")
        monkeypatch.setattr(precision_trial, "STILL_S", 0.5)
        with pytest.raises(EngineError, match="is a GPU free for it"):
            decide_precision(trial, replace(layout, gpus_per_predictor=3))


def test_an_output_without_parts_for_which_no_image_could_be_read_is_free_for_another_precision(
    job: MakeJob, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, notes = job(), Notes()
    write_folder(it.data, digits(1))
    monkeypatch.setattr(precision_trial, "_tried", lambda trial: ForbiddenError("s3://bucket/a.tar", "403"))
    monkeypatch.setattr(execute, "execute", lambda job, layout, works: (event for event in ()))
    assert it.run(ray_address, AUTO, reporter=notes).status == "incomplete"
    assert "precision fp32, for what this run does: it could read no image to try a lower one" in notes.said
    assert read_definition(LedgerPaths(str(it.output))) is None
