"""What a run of a training would do, said without doing anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.jobs.fake_workers import FakeWorkers
from tests.jobs.test_train import run, spec, stopped_at, workers
from tests.training.inputs import write_tars
from vision_batch.cli.main import main
from vision_batch.errors import DefinitionError
from vision_batch.jobs.forecast_train import TrainForecast, forecast_train
from vision_batch.jobs.spec import load_spec

__all__ = ["spec", "workers"]


def forecast(spec: Path, *overrides: str) -> TrainForecast:
    return forecast_train(load_spec(spec, overrides))


def test_before_the_first_run_nobody_has_counted(spec: Path) -> None:
    found = forecast(spec)
    assert (found.shards_total, found.images, found.steps_per_epoch, found.steps_done) == (1, None, None, 0)
    assert found.precision == "fp32"
    assert not (spec.parent / "model").exists()


@pytest.mark.parametrize(("validation", "steps"), [("null", 4), ("{fraction: 0.25}", 3), ("{folds: 2}", 2)])
def test_a_listing_that_tells_how_many_images_there_are_tells_about_how_many_steps(
    spec: Path, validation: str, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"validation={validation}", "train.batch_size=4"]
    found = forecast(spec, *options)
    assert (found.images_listed, found.steps_estimate, found.steps_per_epoch) == (16, steps, None)
    assert main(["plan", str(spec), *(word for option in options for word in ("-o", option))]) == 0
    said = capsys.readouterr().out
    assert "16 images, which the first run splits and counts by label" in said
    assert f"2 epochs of about {steps} steps" in said


def test_a_listing_of_tars_does_not_tell(spec: Path) -> None:
    settings = write_tars(spec.parent / "tars", 40)
    found = forecast(spec, f"input={{uri: {settings.uri}, label_column: cls}}")
    assert (found.images_listed, found.steps_estimate) == (None, None)


def test_after_it_there_are_images_classes_and_steps(spec: Path, workers: FakeWorkers) -> None:
    stopped_at(workers, 4)
    run(spec)
    found = forecast(spec, "train.batch_size=32")
    assert found.images is not None
    assert found.images + (found.validation_images or 0) == 16
    assert found.class_images is not None
    assert list(found.class_images) == ["cat", "dog"]
    assert sum(found.class_images.values()) == found.images
    assert (found.steps_per_epoch, found.steps_done, found.is_finished) == (1, 4, False)


def test_a_checkpoint_that_was_not_committed_is_none(spec: Path, workers: FakeWorkers) -> None:
    stopped_at(workers, 4)
    run(spec)
    half = spec.parent / "model" / "checkpoints" / "000000005"
    half.mkdir()
    (half / "model-0123456789abcdef.safetensors").touch()
    assert forecast(spec).steps_done == 4


def test_what_is_finished_is_said_to_be(spec: Path, workers: FakeWorkers) -> None:
    run(spec)
    assert forecast(spec).is_finished


def test_finished_folds_are_counted(spec: Path, workers: FakeWorkers) -> None:
    workers.at_step = lambda step: stopped_at(workers, 4) if len(workers.jobs) == 2 else None
    run(spec, "validation={folds: 3}")
    found = forecast(spec, "validation={folds: 3}")
    assert (found.folds, found.folds_done, found.steps_done) == (3, 1, 4)


def test_another_definition_is_refused_as_by_the_run(spec: Path, workers: FakeWorkers) -> None:
    run(spec)
    with pytest.raises(DefinitionError):
        forecast(spec, "train.seed=1")


def test_plan_says_it_to_people_and_programs(
    spec: Path, workers: FakeWorkers, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_at(workers, 4)
    run(spec)
    assert main(["plan", str(spec), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["steps_done"] == 4
    assert "4 steps, 4.00 epochs: a run goes on from that checkpoint" in err
    assert main(["plan", str(spec), "--rate-card", "x.yaml"]) == 2
