"""The demo, step by step. What a step left in the folder is kept, so that a second demo resumes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_batch.errors import Problem, SpecError, StorageError
from vision_batch.jobs.demo.digits import TAR_NAMES, TEST_PREFIX, digit_tars
from vision_batch.jobs.demo.example import read_example
from vision_batch.jobs.demo.score import Score, read_score
from vision_batch.jobs.predict import run_predict
from vision_batch.jobs.reporter import Reporter, Silent
from vision_batch.jobs.spec import AnySpec, load_spec
from vision_batch.jobs.summary import RunSummary
from vision_batch.jobs.train import run_train
from vision_batch.jobs.train_summary import TrainSummary
from vision_batch.storage.table import storage_for

ACCURACY_WANTED = 0.95
TRAIN_SPEC, SPEC, PLUGIN, IMAGES = "digits-train.yaml", "digits.yaml", "digits_model.py", "images"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary:
    """How the demo ended. `run` is None when its training did not end as done, `score` when its run did not."""

    spec: AnySpec
    training: TrainSummary
    run: RunSummary | None
    score: Score | None

    @property
    def last(self) -> TrainSummary | RunSummary:
        """What was done last."""
        return self.run or self.training

    @property
    def is_good(self) -> bool:
        """Whether the labels are what they should be."""
        return self.score is not None and self.score.accuracy >= ACCURACY_WANTED

    def as_dict(self) -> dict[str, Any]:
        """The figures of `run --json` for what was done last, those of the training, and the demo's own."""
        score = self.score
        return self.last.as_dict() | {
            "spec": str(self.spec.path),
            "training": self.training.as_dict(),
            "accuracy": None if score is None else score.accuracy,
            "accuracy_wanted": ACCURACY_WANTED,
            "held_out": None if score is None else score.held_out,
            "held_out_correct": None if score is None else score.correct,
        }


def run_demo(folder: Path, *, reporter: Reporter | None = None, verbose: bool = False) -> DemoSummary:
    """Makes images in `folder`, trains a model on most of them, labels them all, and looks at the labels.

    SpecError when scikit-learn is not installed, or `folder` cannot be used; the rest is as in `run_train` and
    `run_predict`.
    """
    reporter = reporter or Silent()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_images(folder / IMAGES, reporter)
        for name in _missing(folder, (TRAIN_SPEC, SPEC, PLUGIN)):
            _write(folder / name, read_example(name))
    except (OSError, StorageError) as error:
        raise SpecError(Problem("DIR", str(error), "a folder that can be read and written")) from error
    reporter.note(f"2/3 model: vision-batch run {folder / TRAIN_SPEC}")
    training = run_train(load_spec(folder / TRAIN_SPEC), reporter=reporter, verbose=verbose)
    spec = load_spec(folder / SPEC)
    if training.status != "done":
        return DemoSummary(spec=spec, training=training, run=None, score=None)
    reporter.note(f"3/3 labels: vision-batch run {folder / SPEC}")
    summary = run_predict(spec, reporter=reporter, verbose=verbose)
    score = read_score(summary.output, TEST_PREFIX) if summary.status == "done" else None
    return DemoSummary(spec=spec, training=training, run=summary, score=score)


def _make_images(folder: Path, reporter: Reporter) -> None:
    """Writes the tars that are missing; a tar that is there stays, for a new one would be a changed shard."""
    missing = _missing(folder, TAR_NAMES)
    if not missing:
        return reporter.note(f"1/3 images: there already, in {folder}")
    reporter.note(f"1/3 images: 1,797 handwritten digits and 5 broken files, as {len(TAR_NAMES)} tars in {folder}")
    for name, content in digit_tars():
        if name in missing:
            _write(folder / name, content)


def _missing(folder: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if not (folder / name).exists()]


def _write(path: Path, content: bytes) -> None:
    """The whole file or none: a demo that was stopped finds no half of one."""
    uri = str(path.absolute())
    storage_for(uri).put(uri, content)
