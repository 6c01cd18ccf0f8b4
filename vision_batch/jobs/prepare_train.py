"""Everything that a train spec names, found and digested before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vision_batch.datasets.settings import BESIDE, InputSettings
from vision_batch.datasets.tar_samples import is_picture
from vision_batch.errors import Problem, SpecError
from vision_batch.inference.settings import AUTO
from vision_batch.jobs.prepare import Parts, find_parts, input_facts, reading_output, resolve_auto, resolve_input
from vision_batch.jobs.settings import TrainJobSettings
from vision_batch.jobs.spec import AnySpec, spec_of_kind
from vision_batch.ledger.definition import KIND, ClaimedOutput, Definition, read_definition
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.transformers_kinds import LEARNING
from vision_batch.storage.uri import join
from vision_batch.training.fit import misfits
from vision_batch.training.imbalance import demand_weights

UNDECIDING = ("checkpoint", "on_nan", "fsdp")
"""What of `train:` decides no weight: when they are stored, what a run does that would fail, and where they lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTraining:
    """A train spec with all that decides the weights resolved.

    `parts.input` and `validation_input` have their formats resolved; the latter is None where validation images come
    from the input, or from nowhere. `claimed` is what the output was created with, if it was. `precision` is auto while
    nothing has claimed the output: `with_precision` says what it stands for. `data` is the output that holds plan and
    catalogue: for one of several folds, that of all of them.
    """

    settings: TrainJobSettings
    raw: dict[str, Any]
    paths: LedgerPaths
    data: LedgerPaths
    parts: Parts
    validation_input: InputSettings | None
    precision: str
    definition: Definition
    claimed: ClaimedOutput | None
    fold: int | None = None

    @property
    def folds(self) -> int | None:
        """How many trainings there are, each measured on a part of its own; None for a single one."""
        return None if self.settings.validation is None else self.settings.validation.folds

    def trainings(self) -> tuple[PreparedTraining, ...]:
        """One for each fold, or this one."""
        return (self,) if self.folds is None else tuple(self.of_fold(fold) for fold in range(self.folds))

    def with_precision(self, precision: str) -> PreparedTraining:
        """The same with what `auto` stands for."""
        definition = Definition({**self.definition.facts, "precision": precision})
        return replace(self, precision=precision, definition=definition)

    def of_fold(self, fold: int) -> PreparedTraining:
        """The training of one fold, counted from 0, whose output lies inside this one's."""
        paths = LedgerPaths(join(self.paths.output, "folds", str(fold)))
        with reading_output():
            claimed = read_definition(paths)
        definition = Definition({**self.definition.facts, "fold": fold})
        return replace(self, paths=paths, definition=definition, claimed=claimed, fold=fold)


def prepare_training(spec: AnySpec) -> PreparedTraining:
    """Resolves what a train spec names and writes nothing. SpecError for what is wrong.

    What `auto` stood for when the output was created is taken from its definition, so that it cannot drift.
    """
    settings = spec_of_kind(spec, TrainJobSettings).settings
    paths = LedgerPaths(settings.output.uri)
    with reading_output():
        claimed = read_definition(paths)
    recorded = claimed.definition.facts if claimed is not None else {}
    parts = find_parts(settings, spec.folder, recorded)
    # The spec's own task was looked at: this is the model's, and the input's format is known.
    if problems := [*misfits(settings.train, parts.task), *_text_for_masks(parts), *_squares(parts)]:
        raise SpecError(problems)
    if parts.model.labels is not None:
        demand_weights(settings.train.class_weights, parts.model.labels)
    validation_input = settings.validation_input
    if validation_input is not None:
        validation_input = resolve_input(validation_input, recorded.get("validation.input.format"), "validation.uri")
    precision = resolve_auto(settings.compute.precision, recorded.get("precision")) or AUTO
    return PreparedTraining(
        settings=settings,
        raw=spec.raw,
        paths=paths,
        data=paths,
        parts=parts,
        validation_input=validation_input,
        precision=precision,
        definition=Definition(_facts(settings, parts, validation_input, precision)),
        claimed=claimed,
    )


def _text_for_masks(parts: Parts) -> Iterator[Problem]:
    """A tar's label that is text where masks are to be learned; what a Parquet column is shows when it is read."""
    label = parts.input.label_column or ""
    is_of_tars = label and parts.input.format == "webdataset"
    if parts.task.labels_are == "mask" and is_of_tars and not is_picture(label.lower()):
        yield Problem("input.label_column", f"{label!r}, text, to learn a segmentation from", "masks, as mask.png")


def _squares(parts: Parts) -> Iterator[Problem]:
    """Of pictures in their own sizes a batch is made of squares, out of which only serving cuts them."""
    if parts.model.variant == LEARNING and parts.preprocess.longest_px is not None:
        expected = "steps that give all pictures one size, as letterbox_px: this model would learn from black borders"
        yield Problem("preprocess.longest_px", f"{parts.preprocess.longest_px}, of {parts.model.location}", expected)


def _facts(
    settings: TrainJobSettings, parts: Parts, validation_input: InputSettings | None, precision: str
) -> dict[str, Any]:
    """All that decides the weights. The number of workers does not: it may change in the middle of an epoch."""
    train = settings.train.model_dump(mode="json", exclude=set(UNDECIDING))
    own = {"uri", *BESIDE}  # of an input, which is told of by itself
    validation = None if settings.validation is None else settings.validation.model_dump(mode="json", exclude=own)
    return {
        KIND: settings.job,
        **parts.facts,
        **({} if validation is None else {f"validation.{key}": value for key, value in validation.items()}),
        **({} if validation_input is None else input_facts(validation_input, "validation.input")),
        "augment": [operation.model_dump(mode="json") for operation in settings.augment],
        **{f"train.{key}": value for key, value in train.items()},
        "limits.max_pixels": settings.limits.max_pixels,
        "precision": precision,
    }
