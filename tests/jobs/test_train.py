"""A train job: counted once, resumed where it was, finished once, and refused to another definition."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import pytest
import yaml

from tests.conftest import S3Bucket
from tests.jobs.fake_workers import FakeWorkers, put_workers
from tests.training.inputs import write_folder, write_parquet, write_tars
from vision_batch.cli.main import main
from vision_batch.cluster.progress import last_progress
from vision_batch.errors import DefinitionError, EngineError, HeldError, ModelError, SpecError, UnavailableError
from vision_batch.inference.layout import Node
from vision_batch.jobs.reporter import Silent, Standing
from vision_batch.jobs.spec import load_spec
from vision_batch.jobs.train import run_train
from vision_batch.jobs.train_summary import TrainSummary
from vision_batch.ledger.lease import held_lease
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.run_record import read_runs
from vision_batch.training import precision
from vision_batch.training.event import BrokenImage
from vision_batch.training.layout import TrainLayout

REPOSITORY = Path(__file__).parents[2]
TEXT = """
job: train
input: {uri: images/, label_column: folder}
validation: {fraction: 0.25}
model: {source: "python:net:build"}
task: {type: classification}
preprocess: {resize_px: [8, 8]}
train: {epochs: 2}
compute: {workers: 1, gpus_per_worker: 0}
output: {uri: model/}
"""


class Heard(Silent):
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.standing: Standing | None = None
        self.images = self.total = 0
        self.waits: list[str | None] = []
        self.notes: list[str] = []
        self.figures: Mapping[str, float] = {}
        self.notes_before_end: list[str] | None = None

    def note(self, text: str) -> None:
        self.notes.append(text)

    def wait(self, what: str | None) -> None:
        self.waits.append(what)

    def start(self, standing: Standing) -> None:
        self.standing, self.images, self.total = standing, standing.images_done, standing.images_total

    def expect(self, total: int) -> None:
        self.total = total

    def advance(self, images: int, failed: int) -> None:
        self.images += images

    def learn(self, figures: Mapping[str, float]) -> None:
        self.figures = figures

    def finish(self) -> None:
        if self.notes_before_end is None:
            self.notes_before_end = list(self.notes)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> FakeWorkers:
    return put_workers(monkeypatch)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(8):
            cv2.imwrite(f"{tmp_path}/images/{label}/{number}.png", np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "net.py").write_text("def build():\n    raise AssertionError('only workers load it')\n")
    (tmp_path / "train.yaml").write_text(TEXT)
    return tmp_path / "train.yaml"


def run(spec: Path, *overrides: str, reporter: Heard | None = None) -> TrainSummary:
    return run_train(load_spec(spec, overrides), reporter=reporter)


def test_a_run_ends_with_a_model_and_says_how_good_it_is(spec: Path, workers: FakeWorkers) -> None:
    heard = Heard()
    summary = run(spec, reporter=heard)
    assert (summary.status, summary.metrics, summary.epochs, summary.steps) == ("done", {"accuracy": 0.7}, 2, 6)
    assert (summary.images_total, summary.images_failed, summary.images_resumed) == (16, 0, 0)
    assert summary.best_checkpoint == f"{spec.parent}/model/checkpoints/000000006"
    assert summary.images_per_second == 8.0
    assert heard.standing is not None
    assert heard.images == heard.standing.images_total
    assert heard.figures == {"epoch": 2, "epochs": 2, "loss": 1 / 6, "accuracy": 0.7}
    assert "epoch 2: loss 0.1667, accuracy 0.7 (best so far)" in heard.notes
    assert [what for what in heard.waits if what] == [
        "for Ray",
        "for the workers to start",
        "for the model, which is exported and compared",
    ]
    assert heard.waits[-1] is None


@pytest.mark.parametrize(("validation", "fold"), [("{fraction: 0.25}", ""), ("{folds: 2}", "fold 1: ")])
def test_progress_ends_with_the_last_training_however_early_that_does(
    spec: Path, workers: FakeWorkers, validation: str, fold: str
) -> None:
    workers.last_step = 3
    heard = Heard()
    run(spec, f"validation={validation}", reporter=heard)
    assert heard.notes_before_end is not None
    assert heard.notes_before_end[-1].startswith(f"{fold}epoch 1: loss 0.3333")
    assert heard.notes[len(heard.notes_before_end) :] == ["training is over: the model is being written"]
    assert heard.images == heard.total


def test_workers_are_told_what_was_counted(spec: Path, workers: FakeWorkers) -> None:
    summary = run(spec)
    (job,) = workers.jobs
    assert job.labels == ("cat", "dog")
    assert job.precision == "fp32"
    assert job.run_id == summary.run_id
    assert job.class_images is not None
    assert 0 < sum(job.class_images) < summary.images_total == 16


def test_a_run_leaves_its_record_and_its_metrics(spec: Path, workers: FakeWorkers) -> None:
    summary = run(spec)
    (record,) = read_runs(LedgerPaths(summary.output))
    assert (record.status, record.counts["metrics"]) == ("done", {"accuracy": 0.7})
    files = f"{summary.output}-metrics/{summary.run_id}/steps-*.parquet"
    assert duckdb.sql(f"SELECT count(*), max(step) FROM '{files}'").fetchall() == [(6, 6)]
    epochs = files.replace("steps", "epochs")
    assert duckdb.sql(f"SELECT epoch FROM '{epochs}' ORDER BY epoch").fetchall() == [(1,), (2,)]


def test_a_finished_run_does_nothing(spec: Path, workers: FakeWorkers) -> None:
    first = run(spec)
    again = run(spec)
    assert len(workers.jobs) == 1
    assert again.status == "done"
    for name in (
        "metrics",
        "images_total",
        "shards_total",
        "shards_done",
        "epochs",
        "steps",
        "best_checkpoint",
        "output",
    ):
        assert getattr(again, name) == getattr(first, name)


def test_to_find_that_it_is_finished_takes_neither_ray_nor_torch(spec: Path, workers: FakeWorkers) -> None:
    run(spec)
    code = (
        "import sys; from vision_batch.cli.main import main; code = main(sys.argv[1:]); "
        "assert not {'ray', 'torch'} & sys.modules.keys(); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(spec), "--json"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"finished: nothing to do" in done.stderr
    assert json.loads(done.stdout)["metrics"] == {"accuracy": 0.7}


def test_an_interrupt_stores_a_checkpoint_and_the_next_run_goes_on(spec: Path, workers: FakeWorkers) -> None:
    stopped_at(workers, 4)
    summary = run(spec)
    assert summary.status == "interrupted"
    assert (Path(summary.output) / "checkpoints" / "000000004").is_dir()
    workers.at_step, workers.first_step = lambda step: None, 4
    again = run(spec)
    assert (again.status, again.images_resumed) == ("done", 12 + 4)


def test_an_interrupted_run_is_recorded_as_such(spec: Path, workers: FakeWorkers) -> None:
    workers.at_step = lambda step: interrupt(workers)
    assert [record.status for record in read_runs(LedgerPaths(run(spec).output))] == ["interrupted"]


def test_another_definition_is_refused_with_what_differs(spec: Path, workers: FakeWorkers) -> None:
    run(spec)
    with pytest.raises(DefinitionError, match=r"train\.seed: found 1; expected 0") as refused:
        run(spec, "train.seed=1")
    way_on = f'expected model: {{source: "trained:{spec.parent}/model"}} in a spec with another output.uri'
    assert way_on in str(refused.value)


def test_an_unfinished_training_is_nothing_to_go_on_from(spec: Path, workers: FakeWorkers) -> None:
    workers.at_step = lambda step: interrupt(workers)
    run(spec)
    with pytest.raises(DefinitionError) as refused:
        run(spec, "train.seed=1")
    assert "trained:" not in str(refused.value)


def test_the_input_is_frozen(spec: Path, workers: FakeWorkers) -> None:
    workers.at_step = lambda step: interrupt(workers)
    run(spec)
    cv2.imwrite(f"{spec.parent}/images/dog/new.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SpecError, match=r"input\.uri"):
        run(spec)


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("write", [write_folder, write_tars, write_parquet])
def test_files_that_changed_are_named_and_counted(
    spec: Path, workers: FakeWorkers, write: Any, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write(spec.parent / "data", 120)
    named = settings.model_dump(exclude_defaults=True)
    options = ["-o", f"input={json.dumps(named)}", "-o", "validation={fraction: 0.5}"]
    workers.at_step = lambda step: interrupt(workers)
    assert main(["run", str(spec), *options]) == 130
    files = sorted(path for path in (spec.parent / "data").rglob("*") if path.is_file())
    new = files[-1].with_stem("99999")
    new.write_bytes(files[-1].read_bytes())
    with files[0].open("ab") as file:
        file.write(bytes(512)) if write is write_tars else None
    os.utime(files[0], (1, 1))
    files[1].unlink()
    for _ in range(2):  # whatever the first one has recorded
        assert main([command, str(spec), *options]) == 2
        said = capsys.readouterr().err
        assert f"{files[0]} is changed" in said
        assert f"{files[1]} is gone" in said
        assert f"{new} is new" in said
        assert "input.uri: found /" in said
    assert len(workers.jobs) == 1


def test_more_workers_than_there_are_lanes_are_refused(spec: Path, workers: FakeWorkers) -> None:
    """Some would have no image in any step, and others twice the images of a batch."""
    workers.nodes = (Node(cpus=65),)
    stopped_at(workers, 2)
    run_train(load_spec(spec), address="head:6379")
    with pytest.raises(SpecError, match=r"compute\.workers: found 65; expected at most 64"):
        run_train(load_spec(spec, ["compute.workers=65"]), address="head:6379")
    workers.at_step = lambda step: None
    assert run_train(load_spec(spec, ["compute.workers=64"]), address="head:6379").status == "done"


def test_another_run_holds_the_output(spec: Path, workers: FakeWorkers) -> None:
    paths = LedgerPaths(f"{spec.parent}/model")
    with held_lease(paths, "another"), pytest.raises(HeldError, match="another"):
        run(spec)


@pytest.mark.parametrize("validation", ["{fraction: 0.25}", "{folds: 2}"])
@pytest.mark.parametrize("error", [ModelError("no such head"), SpecError(())])
def test_a_spec_that_was_wrong_gives_the_output_back(
    spec: Path, workers: FakeWorkers, error: Exception, validation: str
) -> None:
    workers.at_step = lambda step: _fail(error)
    with pytest.raises(type(error)):
        run(spec, f"validation={validation}")
    workers.at_step = lambda step: None
    assert run(spec, f"validation={validation}", "train.seed=1").status == "done"


def test_a_run_that_failed_is_recorded_and_keeps_its_output(spec: Path, workers: FakeWorkers) -> None:
    workers.at_step = lambda step: _fail(EngineError("no worker lives"))
    with pytest.raises(EngineError):
        run(spec)
    (record,) = read_runs(LedgerPaths(f"{spec.parent}/model"))
    assert (record.status, record.error) == ("failed", "no worker lives")
    with pytest.raises(DefinitionError):
        run(spec, "train.seed=1")


def test_a_storage_that_is_away_leaves_the_run_incomplete(spec: Path, workers: FakeWorkers) -> None:
    workers.at_step = lambda step: _fail(UnavailableError("s3://b/x", "503"))
    summary = run(spec)
    assert summary.status == "incomplete"
    assert "s3://b/x: 503" in summary.warnings


def test_broken_images_are_counted_once_whatever_the_epochs(spec: Path, workers: FakeWorkers) -> None:
    workers.broken = (BrokenImage(image_id="x", shard="s", row=1, error_code="truncated", error=""),)
    summary = run(spec)
    assert (summary.images_failed, summary.images_ok, summary.failures) == (1, 15, {"truncated": 1})
    assert summary.exceeds(0.05)
    assert not summary.exceeds(0.1)
    assert run(spec).failures == {"truncated": 1}


def test_every_fold_has_a_training_and_all_have_a_mean(spec: Path, workers: FakeWorkers) -> None:
    heard = Heard()
    summary = run(spec, "validation={folds: 3}", reporter=heard)
    assert summary.status == "done"
    assert summary.metrics["accuracy"] == pytest.approx(0.8)
    assert summary.deviations["accuracy"] == pytest.approx(0.1)
    assert [fold["accuracy"] for fold in summary.folds] == pytest.approx([0.7, 0.8, 0.9])
    assert [job.fold for job in workers.jobs] == [0, 1, 2]
    assert {job.dataset for job in workers.jobs} == {LedgerPaths(summary.output)}
    assert heard.images == heard.total == 3 * 2 * 12
    assert "fold 1: epoch 1: loss 0.3333, accuracy 0.8 (best so far)" in heard.notes
    assert json.loads((spec.parent / "model" / "folds.json").read_text())["metrics"] == summary.metrics


def test_finished_folds_are_not_run_again(spec: Path, workers: FakeWorkers) -> None:
    workers.at_step = lambda step: interrupt(workers) if len(workers.jobs) == 2 else None
    assert run(spec, "validation={folds: 3}").status == "interrupted"
    workers.at_step = lambda step: None
    assert run(spec, "validation={folds: 3}").status == "done"
    assert [job.fold for job in workers.jobs] == [0, 1, 1, 2]
    assert run(spec, "validation={folds: 3}").metrics["accuracy"] == pytest.approx(0.8)
    assert len(workers.jobs) == 4


def test_validation_images_may_be_an_input_of_their_own(spec: Path, workers: FakeWorkers, tmp_path: Path) -> None:
    (tmp_path / "held-out" / "dog").mkdir(parents=True)
    cv2.imwrite(f"{tmp_path}/held-out/dog/0.png", np.zeros((8, 8, 3), np.uint8))
    summary = run(spec, f"validation={{uri: {tmp_path}/held-out}}")
    assert summary.images_total == 17
    (job,) = workers.jobs
    assert job.validation_input.format == "folder"
    assert job.labels == ("cat", "dog")
    assert job.class_images == (8, 8)


def test_labels_that_do_not_go_with_the_models_are_told_of_when_they_are_counted(
    spec: Path, workers: FakeWorkers
) -> None:
    heard = Heard()
    run(spec, "model.labels=[dog, emu, fox]", reporter=heard)
    assert "warning: input: 8 images have the label 'cat', which is none of model.labels" in heard.notes
    assert "warning: input: no image has one of the labels emu, fox" in heard.notes


@pytest.mark.parametrize("labels", ["[cat, dog]", "null"])
def test_weights_that_are_not_one_for_each_label_are_refused_before_ray_is_started(
    spec: Path, workers: FakeWorkers, labels: str
) -> None:
    with pytest.raises(
        SpecError, match=r"train\.class_weights: found 3 weights; expected one for each of the 2 labels"
    ):
        run(spec, f"model.labels={labels}", "train.class_weights=[1, 2, 3]")
    assert workers.addresses == []
    assert run(spec).status == "done", "the output was given back"


@pytest.mark.parametrize(
    ("learned", "measured", "found"),
    [
        ("images/", "images/dog/", "8 files of input.uri, as {folder}/images/dog/0.png"),
        ("images/", "images/*/3.png", "2 files of input.uri, as {folder}/images/cat/3.png"),
        ("images/*/0.png", "images/dog/", "1 file of input.uri, as {folder}/images/dog/0.png"),
    ],
)
def test_validation_images_that_are_learned_from_are_refused_before_anything_is_started(
    spec: Path, workers: FakeWorkers, learned: str, measured: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = ["-o", f"input.uri={spec.parent}/{learned}", "-o", f"validation={{uri: {spec.parent}/{measured}}}"]
    (spec.parent / "images" / "dog" / "notes.txt").write_text("is no image")
    for command in ("plan", "run"):
        assert main([command, str(spec), *inputs]) == 2
        assert f"validation.uri: found {found.format(folder=spec.parent)}" in capsys.readouterr().err
    assert not (spec.parent / "model").exists()
    assert workers.addresses == []


@pytest.fixture
def masked(spec: Path) -> Path:
    """The spec's images, to be segmented, with validation images that have masks of their own."""
    for folder in ("held-out", "masks/cat", "masks/dog", "held-masks"):
        (spec.parent / folder).mkdir(parents=True)
    picture = np.zeros((8, 8), np.uint8)
    cv2.imwrite(f"{spec.parent}/held-out/x.png", picture)
    cv2.imwrite(f"{spec.parent}/held-masks/x.png", picture)
    for image in (spec.parent / "images").rglob("*.png"):
        mask = spec.parent / "masks" / image.relative_to(spec.parent / "images")
        cv2.imwrite(str(mask), picture)
    document = yaml.safe_load(spec.read_text()) | {
        "input": {"uri": "images/", "masks": "masks/"},
        "validation": {"uri": "held-out/", "masks": "held-masks/"},
        "task": {"type": "segmentation"},
        "model": {"source": "python:net:build", "labels": ["ground", "thing"]},
    }
    spec.write_text(yaml.safe_dump(document))
    return spec


@pytest.mark.parametrize(
    ("mask", "where"), [("masks/cat/0.png", "input.masks"), ("held-masks/x.png", "validation.masks")]
)
def test_a_mask_that_changes_while_a_training_is_interrupted_is_noticed(
    masked: Path, workers: FakeWorkers, mask: str, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_at(workers, 4)
    assert run(masked).status == "interrupted"
    before = (masked.parent / mask).read_bytes()
    (masked.parent / mask).write_bytes(before + b"!")
    assert main(["run", str(masked)]) == 2
    said = capsys.readouterr().err
    assert f"{where}: found {masked.parent}/{mask} is changed" in said
    assert main(["plan", str(masked)]) == 2
    assert len(workers.jobs) == 1


def test_a_training_goes_on_with_the_same_masks(masked: Path, workers: FakeWorkers) -> None:
    stopped_at(workers, 4)
    run(masked)
    workers.at_step, workers.first_step = lambda step: None, 4
    assert run(masked).status == "done"
    assert len(workers.jobs) == 2


def test_a_mask_that_changes_while_a_training_runs_is_warned_of(masked: Path, workers: FakeWorkers) -> None:
    mask = masked.parent / "masks" / "dog" / "1.png"
    workers.at_step = lambda step: mask.unlink(missing_ok=True)
    summary = run(masked)
    assert summary.status == "done"
    (warning,) = summary.warnings
    assert f"{mask} is gone" in warning


@pytest.mark.parametrize("masks", ["empty", "not-there"])
def test_a_folder_without_masks_is_refused_and_the_output_given_back(
    masked: Path, workers: FakeWorkers, masks: str
) -> None:
    (masked.parent / "empty").mkdir()
    with pytest.raises(SpecError, match=r"input\.masks: found"):
        run(masked, f"input.masks={masked.parent}/{masks}")
    assert run(masked).status == "done"


def test_a_segmentation_is_not_learned_from_text(masked: Path, workers: FakeWorkers) -> None:
    write_tars(masked.parent / "tars", 40)
    tars = [f"input={{uri: {masked.parent}/tars, label_column: cls}}", "validation={fraction: 0.5}"]
    with pytest.raises(SpecError, match=r"input\.label_column: found 'cls', text"):
        run(masked, *tars)
    assert not (masked.parent / "model").exists()
    write_parquet(masked.parent / "tables", 40)
    table = [f"input={{uri: {masked.parent}/tables, label_column: label}}", "validation={fraction: 0.5}"]
    with pytest.raises(SpecError, match=r"input\.label_column: found 'label', which is string"):
        run(masked, *table)
    assert workers.jobs == []
    assert run(masked).status == "done"


def test_a_cluster_may_have_other_resources_than_this_machine(spec: Path, workers: FakeWorkers) -> None:
    workers.nodes = (Node(cpus=8, gpus=2), Node(cpus=8, gpus=2))
    loaded = load_spec(spec, ["compute={precision: bf16}"])
    summary = run_train(loaded, address="head:6379")
    assert workers.addresses == ["head:6379"]
    assert (workers.layouts[0].workers, workers.layouts[0].gpus_per_worker) == ((4, 4), 1)
    assert summary.precision == "bf16"


def test_what_auto_is_on_gpus_is_asked_once(spec: Path, workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    workers.nodes = (Node(cpus=8, gpus=1),)
    asked: list[TrainLayout] = []
    monkeypatch.setattr(precision, "native_precision", lambda layout: asked.append(layout) or "fp16")
    loaded = load_spec(spec, ["compute={precision: auto}"])
    stopped_at(workers, 2)
    run_train(loaded, address="head:6379")
    workers.at_step = lambda step: None
    assert run_train(loaded, address="head:6379").precision == "fp16"
    assert [job.precision for job in workers.jobs] == ["fp16", "fp16"]
    assert len(asked) == 1


def test_a_machine_that_has_no_room_is_said_before_anything_is_written(spec: Path, workers: FakeWorkers) -> None:
    with pytest.raises(SpecError, match=r"compute\.workers"):
        run(spec, "compute.workers=1000")
    assert not (spec.parent / "model").exists()


@pytest.mark.s3
def test_an_output_may_be_a_bucket(spec: Path, workers: FakeWorkers, moto_s3: S3Bucket) -> None:
    overrides = ["validation={folds: 2}", f"output.uri={moto_s3.uri}/model"]
    stopped_at(workers, 2)
    assert run(spec, *overrides).status == "interrupted"
    workers.at_step = lambda step: None
    first = run(spec, *overrides)
    assert first.status == "done"
    assert [job.fold for job in workers.jobs] == [0, 0, 1]
    assert run(spec, *overrides).folds == first.folds
    stored = moto_s3.server.client().list_objects_v2(Bucket=moto_s3.bucket, Prefix=f"model-metrics/{first.run_id}")
    kinds = {entry["Key"].rpartition("/")[2].partition("-")[0] for entry in stored["Contents"]}
    assert kinds == {"steps", "epochs", "events.out.tfevents.000000", "events.out.tfevents.000001"}


@pytest.mark.s3
def test_a_bucket_that_was_claimed_by_a_wrong_spec_is_given_back(
    spec: Path, workers: FakeWorkers, moto_s3: S3Bucket
) -> None:
    output = f"output.uri={moto_s3.uri}/model"
    workers.at_step = lambda step: _fail(ModelError("no such head"))
    with pytest.raises(ModelError):
        run(spec, output)
    left = moto_s3.server.client().list_objects_v2(Bucket=moto_s3.bucket, Prefix="model/")
    assert {entry["Key"].split("/")[2] for entry in left["Contents"]} == {"runs"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--prune"], "a training has no rows"),
        (["--limit", "2", "--output", "x"], "to try a training: -o train.epochs=1"),
        (["--retry-errors", "all"], "a training has no rows"),
    ],
)
def test_what_is_about_rows_is_refused(
    spec: Path, workers: FakeWorkers, options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(spec), *options]) == 2
    said = capsys.readouterr().err
    assert f"error: {options[0]}: found a train job" in said
    assert expected in said


def test_the_command_tells_people_and_programs(
    spec: Path, workers: FakeWorkers, capsys: pytest.CaptureFixture[str]
) -> None:
    workers.broken = (BrokenImage(image_id="x", shard="s", row=1, error_code="truncated", error=""),)
    assert main(["run", str(spec), "--json", "--progress"]) == 3, "1 of 16 is more than limits.max_error_fraction"
    out, err = capsys.readouterr()
    assert json.loads(out)["metrics"] == {"accuracy": 0.7}
    assert "metrics     accuracy 0.7000" in err
    assert "model: {source: trained:" in err
    last = last_progress(err.splitlines())
    assert last is not None
    assert (last.images_done, last.images_total, last.images_failed) == (24, 24, 1)
    assert last.figures == {"epoch": 2, "epochs": 2, "loss": 1 / 6, "accuracy": 0.7}


def test_there_are_no_rows_to_be_verified(spec: Path, workers: FakeWorkers, capsys: pytest.CaptureFixture[str]) -> None:
    output = run(spec).output
    assert main(["verify", output]) == 2
    assert "of a train job: it has no rows" in capsys.readouterr().err


def stopped_at(workers: FakeWorkers, at: int) -> None:
    """Has the run interrupted before that step."""
    workers.at_step = lambda step: interrupt(workers) if step == at else None


def interrupt(workers: FakeWorkers) -> None:
    """As Ctrl-C: the handler and then its watcher set `stop`."""
    os.kill(os.getpid(), signal.SIGINT)
    assert workers.stops[-1].wait(10)


def _fail(error: Exception) -> None:
    raise error
