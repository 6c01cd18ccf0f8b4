"""What must agree between the parts of a spec."""

from __future__ import annotations

import os
from collections.abc import Iterator

from vision_batch.datasets.pattern import is_pattern, parse
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.settings import (
    EvaluateJobSettings,
    ImageJobSettings,
    JobSettings,
    PredictSettings,
    TrainJobSettings,
)
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.uri import is_inside, join, relative_to, scheme
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.fit import misfits

# The kinds of source that bring no preprocessing of their own.
BARE_SOURCES = ("python", "export", "torchvision")


def inconsistencies(settings: JobSettings) -> list[Problem]:
    """Every disagreement between the parts of `settings`, whose URIs are normalised."""
    problems = list(_output_is_no_file(settings))
    if isinstance(settings, EvaluateJobSettings):
        return [*problems, *_results_are_apart(settings)]
    return [*problems, *_of_images(settings)] if isinstance(settings, ImageJobSettings) else problems


def _of_images(settings: ImageJobSettings) -> list[Problem]:
    problems = [
        *_output_is_apart(settings.output.uri, settings.input, "input"),
        *_one_task(settings),
        *_one_size(settings),
        *_tiles(settings),
    ]
    return [*problems, *_training(settings)] if isinstance(settings, TrainJobSettings) else problems


def overlap(source: str, output: str) -> bool:
    """Whether an input and an output, normalised, share a place: one is or holds the other, symlinks followed.

    A pattern that begins above the output shares a place with it if it would take the output's own files for input.
    SpecError for a pattern that cannot be read.
    """
    if scheme(source) != scheme(output):
        return False
    pattern = parse(source) if is_pattern(source) else None
    root, folder = _real(pattern.root if pattern else source), _real(output)
    if is_inside(root, folder):
        return True
    if not is_inside(folder, root):
        return False
    if pattern is None:
        return True
    paths = LedgerPaths(join(pattern.root, relative_to(folder, root)))
    return any(pattern.regex.fullmatch(uri) for uri in (paths.part("a shard", 0), paths.definition))


def _output_is_apart(output: str, settings: InputSettings, section: str) -> Iterator[Problem]:
    several = not isinstance(settings.uri, str)
    for index, entry in enumerate(settings.inputs):
        where = f"{section}.uri.{index}" if several else f"{section}.uri"
        try:
            if overlap(entry.uri, output):
                found = f"{output}, which is, holds or is inside {where}, {entry.uri}"
                yield Problem("output.uri", found, f"a folder apart from the {section}")
        except SpecError as error:
            yield from (Problem(where, f"{p.where}: {p.found}", p.expected) for p in error.problems)


def _output_is_no_file(settings: JobSettings) -> Iterator[Problem]:
    uri = settings.output.uri
    if not scheme(uri) and os.path.isfile(uri):
        yield Problem("output.uri", f"the file {uri}", "a folder; it need not exist yet")


def _results_are_apart(settings: EvaluateJobSettings) -> Iterator[Problem]:
    """Whoever reads the predictions, or the truth, would read the results too."""
    named = {"predictions": settings.predictions.uri} | (
        {} if settings.truth is None else {"truth": settings.truth.uri}
    )
    for section, uri in named.items():
        if overlap(uri, settings.output.uri):
            found = f"{settings.output.uri}, which is, holds or is inside {section}.uri, {uri}"
            yield Problem("output.uri", found, f"a folder apart from the {section}")


def _one_task(settings: ImageJobSettings) -> Iterator[Problem]:
    """Only a trained model has a task of its own."""
    if settings.task is None and settings.model.source.partition(":")[0] != "trained":
        yield Problem("task", "nothing", "what a prediction means, as {type: classification}")


def _one_size(settings: ImageJobSettings) -> Iterator[Problem]:
    """A batch holds images of one size. A source with a preprocessing of its own may go without the section."""
    kind = settings.model.source.partition(":")[0]
    preprocess = settings.preprocess
    in_tiles = settings.task is not None and settings.task.tile_px is not None
    if preprocess is None:
        if kind in BARE_SOURCES:
            expected = _FULL_SIZE if in_tiles else _SIZES
            yield Problem("preprocess", "nothing", f"{expected} (a {kind}: model brings no preprocessing of its own)")
    elif in_tiles:
        if preprocess != preprocess.full_size:
            yield Problem("preprocess", "a resize or crop, with task.tile_px", _FULL_SIZE)
    elif preprocess.output_px is None and preprocess.function is None:
        yield Problem("preprocess", "settings that leave images of different sizes", _SIZES)


def _tiles(settings: ImageJobSettings) -> Iterator[Problem]:
    if settings.task is None or settings.task.tile_px is None:
        return
    if isinstance(settings, TrainJobSettings):
        yield Problem("task.tile_px", "in a train job", "nothing: a model learns what `preprocess` and `augment` give")
    elif isinstance(settings, PredictSettings) and settings.compute.compile:
        yield Problem("compute.compile", "true, with task.tile_px", "false")


def _training(settings: TrainJobSettings) -> Iterator[Problem]:
    """What is to be learned, and what it is measured on."""
    if not settings.input.has_labels:
        labels = (
            "the labels: a Parquet column, a WebDataset extension as cls, folder, for folders per class, boxes, of "
            "COCO or YOLO; or masks"
        )
        yield Problem("input.label_column", "nothing", labels)
    if settings.task is not None:
        yield from _labels_fit(settings.input, settings.task)
    if settings.validation is None and settings.train.early_stopping is not None:
        yield Problem("train.early_stopping", "no validation", "validation, on which it can be seen when to stop")
    if settings.task is not None:
        yield from misfits(settings.train, settings.task)
    preprocess = settings.preprocess
    if preprocess is not None and preprocess.function is not None and preprocess.output_px is None:
        yield Problem("preprocess", "a function and no size", "crop_px, resize_px or letterbox_px: all images alike")
    try:
        validation = settings.validation_input
    except ValueError:
        yield Problem("validation.uri", "two inputs of one name", "every input with a name of its own")
        return
    if validation is not None:
        yield from _output_is_apart(settings.output.uri, validation, "validation")
        learned = {_real(entry.uri) for entry in settings.input.inputs}
        for uri in [entry.uri for entry in validation.inputs if _real(entry.uri) in learned]:
            yield Problem("validation.uri", f"{uri}, which is in input.uri too", "images that the model never learns")


def _labels_fit(input: InputSettings, task: TaskSettings) -> Iterator[Problem]:
    """Masks for segmentation, boxes for detection, names for all else, as far as that shows without the data."""
    if task.labels_are == "mask" and input.label_column == "folder":
        expected = "where the masks are: input.masks, a Parquet column of PNGs, or a WebDataset extension as mask.png"
        yield Problem("input.label_column", "'folder' with task: {type: segmentation}", expected)
    elif task.labels_are == "boxes" and input.label_column == "folder":
        expected = "where the boxes are: a Parquet column, or a WebDataset extension as json"
        yield Problem("input.label_column", "'folder' with task: {type: detection}", expected)
    elif task.labels_are != "mask" and input.masks is not None:
        found = f"{input.masks} with task: {{type: {task.type}}}"
        yield Problem("input.masks", found, "label_column, which names classes, or task: {type: segmentation}")


_SIZES = (
    "the size that the model was trained on: resize_shorter_px with crop_px or longest_px, resize_px, letterbox_px, "
    "or a function"
)

_FULL_SIZE = "mean, std and function only: tiles are cut from the image at full size"


def _real(uri: str) -> str:
    return uri if scheme(uri) else os.path.realpath(uri)
