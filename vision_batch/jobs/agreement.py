"""What a spec and a trained model say together: the model's record holds, and the spec may only say the same."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from vision_batch.errors import Problem, SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.jobs.settings import ImageJobSettings
from vision_batch.models.bundle import ModelBundle
from vision_batch.models.trained import PluginPlace, TrainedModel
from vision_batch.models.trained_source import demand_plugin
from vision_batch.plugin import Plugin, find_plugin
from vision_batch.tasks.settings import TaskSettings

FIXED = ("type", "multi_label")
"""The settings of a task that training has fixed; the others, as top_k, are about what is kept of a prediction."""


def agreed_task(settings: ImageJobSettings, model: ModelBundle) -> TaskSettings:
    """The spec's task; of a trained model the one that it was trained for, with the spec's thresholds.

    SpecError where there is none, or the spec has another one.
    """
    asked = settings.task
    if model.trained is None:
        if asked is None:
            raise SpecError(Problem("task", "nothing", "what a prediction means, as {type: classification}"))
        if model.labels is None and settings.job == "train":
            return asked  # the labels are those that the data have
        return _with_known_labels(asked, model)
    trained = _trained_task(model.trained)
    if asked is None:
        return trained
    given = {key: getattr(asked, key) for key in asked.model_fields_set}
    if asked.multi_label:  # not said it has meant 0.5 ever since: outputs were made so
        given["score_threshold"] = asked.score_threshold
    problems = [
        Problem(f"task.{key}", repr(value), f"{getattr(trained, key)!r}, for which the model was trained, or nothing")
        for key, value in given.items()
        if key in FIXED and value != getattr(trained, key)
    ]
    if problems:
        raise SpecError(problems)
    return _with_known_labels(TaskSettings.model_validate(trained.model_dump() | given), model)


def agreed_preprocess(
    settings: ImageJobSettings, model: ModelBundle, folder: Path
) -> tuple[PreprocessSettings, Plugin | None]:
    """The spec's preprocessing, else the model's own, and the plug-in of its `function`.

    SpecError where neither has one, where a trained model's differs from the spec's, and where its plug-in is not the
    one in `folder`.
    """
    preprocess = settings.preprocess or model.preprocess
    if preprocess is None:
        raise SpecError(
            Problem("preprocess", "nothing", "how to resize: this model brings no preprocessing of its own")
        )
    where: PluginPlace = "preprocess.function"
    if model.trained is None:
        name = preprocess.function
        return preprocess, None if name is None else find_plugin(name, folder, where=where)
    trained = model.trained.preprocess
    if preprocess != trained:
        raise SpecError(_differences(preprocess, trained))
    name = trained.function
    return trained, None if name is None else demand_plugin(model.trained, name, folder, where=where)


def _with_known_labels(task: TaskSettings, model: ModelBundle) -> TaskSettings:
    problems = task.strangers(model.labels)
    if problems:
        raise SpecError(problems)
    return task


def _trained_task(model: TrainedModel) -> TaskSettings:
    try:
        return TaskSettings.model_validate(model.task)
    except ValidationError as error:
        found = f"a model trained for the task {model.task}"
        raise SpecError(Problem("model.source", found, "a task that this version of vision-batch knows")) from error


def _differences(asked: PreprocessSettings, trained: PreprocessSettings) -> list[Problem]:
    ours, theirs = asked.model_dump(), trained.model_dump()
    return [
        Problem(
            f"preprocess.{key}", repr(ours.get(key)), f"{theirs.get(key)!r}, as in training; leave `preprocess` out"
        )
        for key in ours | theirs
        if ours.get(key) != theirs.get(key)
    ]
