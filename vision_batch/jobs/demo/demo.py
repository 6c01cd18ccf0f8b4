"""The demo, step by step. What a step left in the folder is kept, so that a second demo resumes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vision_batch.cluster.one_ray import one_ray
from vision_batch.errors import Problem, SpecError, StorageError
from vision_batch.evaluation.evaluate import evaluate
from vision_batch.evaluation.settings import EvaluateSettings
from vision_batch.jobs.demo.digits import TAR_NAMES, TEST_PREFIX, digit_tars
from vision_batch.jobs.demo.example import read_example
from vision_batch.jobs.demo.exercise import CLASSIFICATION, EXERCISES, PLUGINS, SPECS, Exercise
from vision_batch.jobs.demo.scenes import SCENE_TAR_NAMES, scene_tars
from vision_batch.jobs.demo.score import Score, read_score
from vision_batch.jobs.demo.summary import DemoSummary, Done
from vision_batch.jobs.predict import run_predict
from vision_batch.jobs.reporter import Reporter, Silent
from vision_batch.jobs.spec import load_spec
from vision_batch.jobs.train import run_train
from vision_batch.ledger.predictions import Predictions
from vision_batch.report.report import write_report
from vision_batch.storage.table import storage_for

DIGITS, SCENES = "images", "scenes"
NEIGHBOURS = 5


def run_demo(folder: Path, *, reporter: Reporter | None = None, verbose: bool = False) -> DemoSummary:
    """Makes images in `folder`, does the exercises with them, and looks at what comes out.

    It ends early with a run that does not end as done. SpecError when scikit-learn is not installed, or `folder` cannot
    be used; the rest is as in `run_train` and `run_predict`.
    """
    demo = _Demo(folder, reporter or Silent(), verbose)
    demo.prepare()
    with one_ray():
        done = tuple(demo.exercises())
    return DemoSummary(done=done, score=demo.score)


class _Demo:
    """A demo in a folder. `score` is that of the labels, as soon as there is one."""

    score: Score | None = None

    def __init__(self, folder: Path, reporter: Reporter, verbose: bool) -> None:
        self._folder = folder
        self._reporter = reporter
        self._verbose = verbose

    def prepare(self) -> None:
        """Images, specs and plug-ins, as far as they are not there."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make("1,797 handwritten digits and 5 broken files", DIGITS, TAR_NAMES, digit_tars())
            self._make("1,280 photographs with digits on them", SCENES, SCENE_TAR_NAMES, scene_tars())
            for name in _missing(self._folder, (*SPECS, *PLUGINS)):
                _write(self._folder / name, read_example(name))
        except (OSError, StorageError) as error:
            raise SpecError(Problem("DIR", str(error), "a folder that can be read and written")) from error

    def exercises(self) -> Iterator[Done]:
        """One after the other, up to one that does not end as done."""
        for number, exercise in enumerate(EXERCISES, start=1):
            done = self._exercise(exercise, f"{number}/{len(EXERCISES)} {exercise.task}")
            yield done
            if done.value is None:
                return

    def _exercise(self, exercise: Exercise, heading: str) -> Done:
        spec = load_spec(self._folder / exercise.predict)
        training = None
        if exercise.train is not None:
            self._reporter.note(f"{heading}: vision-batch run {self._folder / exercise.train}")
            train_spec = load_spec(self._folder / exercise.train)
            training = run_train(train_spec, reporter=self._reporter, verbose=self._verbose)
            if training.status != "done":
                return Done(exercise=exercise, spec=spec, training=training, run=None, value=None)
        self._reporter.note(f"{heading}: vision-batch run {self._folder / exercise.predict}")
        run = run_predict(spec, reporter=self._reporter, verbose=self._verbose)
        if run.status != "done":
            return Done(exercise=exercise, spec=spec, training=training, run=run, value=None)
        value, report = self._measured(exercise, run.output), write_report(run.output)
        return Done(exercise=exercise, spec=spec, training=training, run=run, value=value, report=report)

    def _measured(self, exercise: Exercise, output: str) -> float:
        """The metric on images that training never saw; digits are labelled all of them."""
        if exercise is CLASSIFICATION:
            self.score = read_score(output, TEST_PREFIX)
            return self.score.accuracy
        settings = EvaluateSettings(bootstrap=0, k=[NEIGHBOURS])
        return evaluate(Predictions.open(output), None, settings).metrics[exercise.metric]

    def _make(self, what: str, name: str, names: Sequence[str], tars: Iterable[tuple[str, bytes]]) -> None:
        """Writes the tars that are missing; a tar that is there stays, for a new one would be a changed shard."""
        folder = self._folder / name
        missing = _missing(folder, names)
        if not missing:
            return self._reporter.note(f"images: there already, in {folder}")
        self._reporter.note(f"images: {what}, as {len(names)} tars in {folder}")
        for tar_name, content in tars:
            if tar_name in missing:
                _write(folder / tar_name, content)


def _missing(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if not (folder / name).exists()]


def _write(path: Path, content: bytes) -> None:
    """The whole file or none: a demo that was stopped finds no half of one."""
    uri = str(path.absolute())
    storage_for(uri).put(uri, content)
