"""The demo: from nothing to every kind of prediction with one command, and what it says afterwards is true."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from vision_batch.cli.main import main
from vision_batch.jobs.demo.example import CHECKOUT, read_example
from vision_batch.jobs.demo.exercise import CLASSIFICATION, EXERCISES, PLUGINS, SPECS
from vision_batch.jobs.demo.scenes import SCENES_PER_TAR, TEST_TARS
from vision_batch.jobs.demo.score import Score
from vision_batch.jobs.demo.summary import DemoSummary, Done
from vision_batch.jobs.spec import AnySpec, load_spec
from vision_batch.jobs.summary import RunSummary
from vision_batch.jobs.train_summary import TrainSummary

pytestmark = pytest.mark.timeout(1000)  # three trainings and four other runs, on a machine that may be busy

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A demo that has been run with --json: what it said to programs and to people, and where."""

    result: dict[str, Any]
    told: str
    folder: Path
    around: Path

    def commands(self) -> dict[str, str]:
        """The lines after `try next:`, by what they are for."""
        lines = self.told.partition("try next:\n")[2].splitlines()
        return dict(line.split(None, 1) for line in lines if line.startswith("  "))


def run_demo(around: Path) -> Demo:
    """In a folder whose name wants quoting."""
    done = subprocess.run(
        [sys.executable, "-m", "vision_batch", "demo", "it's a demo", "--json"],
        cwd=around,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    return Demo(result=result, told=done.stderr, folder=around / "it's a demo", around=around)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return run_demo(tmp_path_factory.mktemp("around"))


@pytest.mark.ray
class TestFromNothing:
    def test_every_image_has_its_row(self, demo: Demo) -> None:
        table = pq.read_table(sorted((demo.folder / "labels").glob("*.parquet")))
        assert table.num_rows == len(set(table["image_id"].to_pylist())) == 1802
        assert demo.result["status"] == "done"
        assert demo.result["images_total"] == 1802
        assert demo.result["images_ok"] == 1797

    def test_digits_that_training_never_saw_are_read_well(self, demo: Demo) -> None:
        """What is promised of a training with two workers on two cores, start of Ray and all."""
        assert demo.result["accuracy"] >= 0.985
        training = demo.result["training"]
        assert training["metrics"]["accuracy"] == pytest.approx(demo.result["accuracy"])
        assert training["workers"] == 2
        assert training["seconds"] < 300
        assert demo.result["held_out"] == 360
        assert f"held-out accuracy {demo.result['accuracy']:.3f}" in demo.told

    @pytest.mark.parametrize(("task", "least"), [("embedding", 0.95), ("detection", 0.65), ("segmentation", 0.8)])
    def test_every_kind_of_prediction_is_good_on_what_training_never_saw(
        self, demo: Demo, task: str, least: float
    ) -> None:
        done = demo.result["exercises"][task]
        assert least <= done["value"] <= 1
        assert f"  {task:<15} {done['metric']} {done['value']:.3f}" in demo.told
        rows = pq.read_table(sorted(Path(done["output"]).glob("*.parquet")), columns=["error_code"])
        assert rows.num_rows == (360 if task == "embedding" else TEST_TARS * SCENES_PER_TAR)
        assert rows["error_code"].null_count == rows.num_rows

    def test_training_measures_boxes_as_the_evaluation_does(self, demo: Demo) -> None:
        """One counts scores in bins and in the model's pixels, the other by COCO's rules in the picture's."""
        done = demo.result["exercises"]["detection"]
        assert done["training"]["metrics"]["mean_average_precision_50"] == pytest.approx(done["value"], abs=0.01)

    def test_the_reports_are_where_it_says(self, demo: Demo) -> None:
        places = [line.split(None, 1)[1] for line in demo.told.partition("in a browser:\n")[2].splitlines() if line]
        assert len(places) == len(EXERCISES)
        for place in places:
            assert (demo.around / place).read_text().startswith("<!doctype html>")

    def test_each_broken_file_is_one_failure_with_its_code(self, demo: Demo) -> None:
        assert demo.result["failures"] == dict.fromkeys(["empty", "missing", "too_large", "truncated", "unreadable"], 1)
        assert "train-01/broken-truncated" in demo.told

    def test_training_goes_without_its_broken_files(self, demo: Demo) -> None:
        training = demo.result["training"]
        assert training["images_total"] == 1802
        assert training["failures"] == demo.result["failures"]

    def test_the_picture_of_the_training_is_where_it_says(self, demo: Demo) -> None:
        (curves,) = shlex.split(demo.commands()["curves"])
        assert (demo.around / curves).read_bytes().startswith(b"\x89PNG")

    def test_the_query_that_it_prints_shows_the_result(self, demo: Demo) -> None:
        shown = shell(demo.commands()["query"], demo.around)
        assert all(heading in shown for heading in ("truth", "images", "correct", "failed"))

    def test_the_audit_that_it_prints_finds_nothing(self, demo: Demo) -> None:
        shell(demo.commands()["audit"], demo.around)

    def test_the_measuring_that_it_prints_gives_all_numbers(self, demo: Demo) -> None:
        result = json.loads(shell(f"{demo.commands()['measure']} -o evaluate.bootstrap=10 --json", demo.around))
        assert (result["images"], result["images_failed"]) == (TEST_TARS * SCENES_PER_TAR, 0)
        assert result["metrics"]["ap50"] == pytest.approx(demo.result["exercises"]["detection"]["value"])
        assert (Path(result["output"]) / "metrics.parquet").exists()

    def test_the_export_that_it_prints_has_all_scenes(self, demo: Demo) -> None:
        assert json.loads(shell(f"{demo.commands()['export']} --json", demo.around))["images"] == 320

    def test_the_run_that_it_prints_has_nothing_to_do(self, demo: Demo) -> None:
        assert json.loads(shell(f"{demo.commands()['resume']} --json", demo.around))["images_resumed"] == 1802

    def test_a_second_demo_resumes(self, demo: Demo) -> None:
        again = run_demo(demo.around)
        assert again.result["images_resumed"] == 1802
        assert again.result["first_batch_seconds"] is None
        assert again.result["training"]["first_batch_seconds"] is None
        assert "finished: nothing to do" in again.told
        assert again.result["accuracy"] == demo.result["accuracy"]


def shell(command: str, folder: Path) -> str:
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_that_cannot_be_made_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", str(tmp_path / "file" / "demo")]) == 2
    assert "error: DIR: found" in capsys.readouterr().err


def labels_spec() -> AnySpec:
    return load_spec(REPOSITORY / "jobs" / "digits.yaml")


def told(monkeypatch: pytest.MonkeyPatch, summary: DemoSummary) -> int:
    monkeypatch.setattr("vision_batch.cli.demo.run_demo", lambda *arguments, **options: summary)
    return main(["demo", "--json"])


@pytest.mark.parametrize(("correct", "code"), [(95, 0), (94, 1)])
def test_labels_that_are_too_often_wrong_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], correct: int, code: int
) -> None:
    score = Score(held_out=100, correct=correct, failures=())
    run = RunSummary(
        run_id="r",
        status="done",
        precision="fp32",
        images_total=100,
        images_ok=100,
        images_failed=0,
        images_resumed=0,
        images_retried=0,
        files_pruned=0,
        failures={},
        shards_total=1,
        shards_done=1,
        seconds=1.0,
        first_batch_seconds=None,
        images_per_second=None,
        bottleneck=None,
        output="/labels",
    )
    labels = Done(exercise=CLASSIFICATION, spec=labels_spec(), training=trained(), run=run, value=score.accuracy)
    assert told(monkeypatch, DemoSummary(done=(labels,), score=score)) == code
    assert json.loads(capsys.readouterr().out)["accuracy"] == correct / 100


@pytest.mark.parametrize(("status", "code"), [("interrupted", 130), ("incomplete", 4)])
def test_a_training_that_does_not_end_is_what_the_demo_tells_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: str, code: int
) -> None:
    ended = Done(exercise=CLASSIFICATION, spec=labels_spec(), training=trained(status), run=None, value=None)
    assert told(monkeypatch, DemoSummary(done=(ended,), score=None)) == code
    result = json.loads(capsys.readouterr().out)
    assert (result["status"], result["accuracy"]) == (status, None)


def trained(status: str = "done") -> TrainSummary:
    return TrainSummary(
        run_id="r",
        status=status,
        precision="fp32",
        images_total=100,
        images_ok=100,
        images_failed=0,
        images_resumed=0,
        failures={},
        shards_total=1,
        shards_done=1,
        seconds=1.0,
        first_batch_seconds=None,
        images_per_second=None,
        waited=None,
        bottleneck=None,
        output="/model",
        metrics={},
        epochs=1,
        epochs_total=2,
        steps=3,
        best_checkpoint=None,
    )


def test_the_wheel_takes_the_examples_from_jobs() -> None:
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    for name in (*SPECS, *PLUGINS):
        assert build["targets"]["wheel"]["force-include"][f"jobs/{name}"] == f"vision_batch/jobs/demo/{name}"
        assert read_example(name) == (CHECKOUT / name).read_bytes() == (REPOSITORY / "jobs" / name).read_bytes()
