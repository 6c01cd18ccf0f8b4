"""How the demo ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vision_batch.jobs.demo.exercise import CLASSIFICATION, EXERCISES, Exercise
from vision_batch.jobs.demo.score import Score
from vision_batch.jobs.spec import AnySpec
from vision_batch.jobs.summary import RunSummary
from vision_batch.jobs.train_summary import TrainSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An exercise that was begun. `run` is None when its training did not end as done, `value` when its run did not.

    `spec` is that of the run; `value` is the exercise's metric.
    """

    exercise: Exercise
    spec: AnySpec
    training: TrainSummary | None
    run: RunSummary | None
    value: float | None
    report: str | None = None

    @property
    def last(self) -> TrainSummary | RunSummary:
        """What was done last."""
        last = self.run or self.training
        assert last is not None, "an exercise without a training has a run"
        return last

    @property
    def is_good(self) -> bool:
        """Whether the predictions are what they should be."""
        return self.value is not None and self.value >= self.exercise.wanted

    def as_dict(self) -> dict[str, Any]:
        trained = None if self.training is None else self.training.as_dict()
        return {
            "metric": self.exercise.metric,
            "value": self.value,
            "wanted": self.exercise.wanted,
            "training": trained,
            "output": None if self.run is None else self.run.output,
            "report": self.report,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary:
    """What was done, in order: of all exercises the first ones, as far as their runs ended as done.

    `score` is of the labels of the first, None when it has none.
    """

    done: tuple[Done, ...]
    score: Score | None

    @property
    def last(self) -> Done:
        """The exercise that was done last, in which the demo ended if it ended early."""
        return self.done[-1]

    @property
    def is_whole(self) -> bool:
        """Whether all exercises have been done to their ends."""
        return len(self.done) == len(EXERCISES) and self.last.value is not None

    @property
    def is_good(self) -> bool:
        """Whether all predictions are what they should be."""
        return all(each.is_good for each in self.done)

    def as_dict(self) -> dict[str, Any]:
        """The figures of `run --json` for the labels, or for what the demo ended in, and the demo's own."""
        labels, score = self.done[0], self.score
        told = labels if self.last.value is not None else self.last
        return told.last.as_dict() | {
            "spec": str(told.spec.path),
            "training": None if labels.training is None else labels.training.as_dict(),
            "accuracy": None if score is None else score.accuracy,
            "accuracy_wanted": CLASSIFICATION.wanted,
            "held_out": None if score is None else score.held_out,
            "held_out_correct": None if score is None else score.correct,
            "exercises": {each.exercise.task: each.as_dict() for each in self.done},
        }
