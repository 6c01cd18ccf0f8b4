"""Everything that a predict spec names, found and digested before anything is started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_batch.datasets.detect import detect_format
from vision_batch.datasets.format import Format
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.errors import Problem, SpecError, StorageError, UnavailableError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.inference.settings import AUTO
from vision_batch.jobs.agreement import agreed_preprocess, agreed_task
from vision_batch.jobs.settings import ImageJobSettings, PredictSettings
from vision_batch.jobs.spec import AnySpec, spec_of_kind
from vision_batch.ledger.definition import CELL_ROWS, ClaimedOutput, Definition, read_definition
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.transformers_kinds import KINDS
from vision_batch.plugin import Plugin
from vision_batch.tasks.settings import TaskSettings

if TYPE_CHECKING:
    from vision_batch.inference.precision_trial import PrecisionTrial


MASK_CELL_ROWS = 512
"""Of an output with masks, which take some 100 KB an image, and their truths as much."""

TILED_CELL_ROWS = 32
"""Where masks are of pictures that are too large for a model: each may take megabytes."""

MASK_PLACE_PIXELS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A spec with all that decides predictions resolved.

    `input` is the spec's with its format resolved; `claimed` is what the output was created with, if it was.
    `precision` is auto while nothing has claimed the output; then `definition` is not the output's yet:
    `with_precision` makes it so.
    """

    settings: PredictSettings
    input: InputSettings
    raw: dict[str, Any]
    paths: LedgerPaths
    format: Format
    preprocess: PreprocessSettings
    function: Plugin | None
    model: ModelBundle
    task: TaskSettings
    precision: str
    limit: int | None
    definition: Definition
    claimed: ClaimedOutput | None

    @property
    def cell_rows(self) -> int:
        """The output's, or those that it is created with: a worker holds a cell's predictions before it writes them."""
        if self.claimed is not None:
            return self.claimed.cell_rows
        if self.task.tile_px is not None:
            return TILED_CELL_ROWS
        return MASK_CELL_ROWS if self.task.has_masks else CELL_ROWS

    @property
    def model_px(self) -> tuple[int, int] | None:
        """Height and width of what the model is given, images or tiles; None where they differ from image to image."""
        tile_px = self.task.tile_px
        return self.preprocess.output_px if tile_px is None else (tile_px, tile_px)

    @property
    def answers_per_pixel(self) -> int:
        """How many numbers the model answers for a pixel; 0 where it answers for images, or nobody knows.

        Masks of single things are taken to be as many as boxes are kept, and to have a place for 4x4 pixels each.
        """
        if self.task.type == "detection":
            return -(-self.task.max_boxes // MASK_PLACE_PIXELS) if self.task.masks else 0
        return len(self.model.labels or ()) if self.task.has_masks else 0

    def precision_trial(self) -> PrecisionTrial:
        """What is to be tried where predictors will be."""
        from vision_batch.inference.precision_trial import PrecisionTrial

        return PrecisionTrial(
            input=self.input,
            format=self.input.format,
            preprocess=self.preprocess,
            function=self.function,
            model=self.model,
            task=self.task,
            max_pixels=self.settings.limits.max_pixels,
        )

    def with_precision(self, precision: str) -> Prepared:
        """The same with what `auto` stands for."""
        return replace(
            self, precision=precision, definition=Definition({**self.definition.facts, "precision": precision})
        )


def prepare(spec: AnySpec, *, limit: int | None = None) -> Prepared:
    """Resolves what a spec names and writes nothing.

    What `auto` stood for when the output was created is taken from its definition, so that it cannot drift. `limit` is
    part of the definition: an output of the first N images is no beginning of the whole. SpecError for what is wrong.
    """
    settings = spec_of_kind(spec, PredictSettings).settings
    paths = LedgerPaths(settings.output.uri)
    with reading_output():
        claimed = read_definition(paths)
    recorded = claimed.definition.facts if claimed is not None else {}
    parts = find_parts(settings, spec.folder, recorded)
    _demand_one_size(settings, parts)
    precision = resolve_auto(settings.compute.precision, recorded.get("precision")) or AUTO
    facts = {
        **parts.facts,
        "limits.max_pixels": settings.limits.max_pixels,
        "precision": precision,
        **({} if limit is None else {"limit": limit}),
    }
    return Prepared(
        settings=settings,
        input=parts.input,
        raw=spec.raw,
        paths=paths,
        format=format_named(parts.input.format),
        preprocess=parts.preprocess,
        function=parts.function,
        model=parts.model,
        task=parts.task,
        precision=precision,
        limit=limit,
        definition=Definition(facts),
        claimed=claimed,
    )


def _demand_one_size(settings: PredictSettings, parts: Parts) -> None:
    """SpecError for a model that is to be compiled, and sees each picture in its own size."""
    kind = KINDS.get(parts.model.variant)
    if settings.compute.compile and kind is not None and kind.by_size and parts.preprocess.longest_px is not None:
        found = "true, for a model that sees each picture in its own size (longest_px, as its own processor has it)"
        raise SpecError(Problem("compute.compile", found, "false, or steps that give all pictures one size"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What specs of every kind name, found and digested. `input` has its format resolved."""

    input: InputSettings
    preprocess: PreprocessSettings
    function: Plugin | None
    model: ModelBundle
    task: TaskSettings

    @property
    def facts(self) -> dict[str, Any]:
        """All of it that an output's definition says, by name."""
        return {
            **input_facts(self.input, "input"),
            **{f"preprocess.{key}": value for key, value in self.preprocess.model_dump().items()},
            **{f"model.{key}": value for key, value in self.model.facts.items()},
            **{f"task.{key}": value for key, value in self.task.model_dump().items()},
            **({} if self.function is None else {"preprocess.function_sha256": self.function.digest}),
        }


def find_parts(settings: ImageJobSettings, folder: Path, recorded: Mapping[str, object]) -> Parts:
    """Finds what a spec in `folder` names. `recorded` are the facts of the output's definition, if it has one.

    SpecError for what is wrong.
    """
    input = resolve_input(settings.input, recorded.get("input.format"))
    model = resolve_model(
        settings.model,
        folder,
        task=None if settings.task is None else settings.task.asked,
        pooling="auto" if settings.task is None else settings.task.pooling,
        read_preprocess=settings.preprocess is None,
        for_training=settings.job == "train",
    )
    task = agreed_task(settings, model)
    preprocess, function = agreed_preprocess(settings, model, folder)
    if task.tile_px is not None:
        preprocess = preprocess.full_size  # what the model's own preprocessing says of sizes is not for tiles
    return Parts(input=input, preprocess=preprocess, function=function, model=model, task=task)


def resolve_input(settings: InputSettings, recorded: object, where: str = "input.uri") -> InputSettings:
    """The same with its format: the spec's, the `recorded` one, or what is found; SpecError for what it cannot do."""
    with reading_input(where):
        format = resolve_auto(settings.format, recorded) or detect_format(settings)
    resolved = settings.model_copy(update={"format": format})
    problems = format_named(format).problems(resolved)
    if problems:
        raise SpecError(problems)
    return resolved


@contextmanager
def reading_input(where: str = "input.uri") -> Iterator[None]:
    """Turns what the storage says of the input into a problem of the spec: nothing has been started yet.

    A storage that does not answer is no problem of the spec's: UnavailableError says that the run may be tried again.
    """
    try:
        yield
    except UnavailableError:
        raise
    except StorageError as error:
        raise SpecError(Problem(where, str(error), "an input that can be listed and read")) from error


@contextmanager
def reading_output() -> Iterator[None]:
    """The same for the output, whose ledger is read and written before anything is started."""
    try:
        yield
    except UnavailableError:
        raise
    except StorageError as error:
        raise SpecError(Problem("output.uri", str(error), "a folder that can be read and written")) from error


def resolve_auto(asked: str, recorded: object) -> str | None:
    """What was asked for, or what `auto` stood for when the output was created; None where that is not known yet."""
    if asked != "auto":
        return asked
    return recorded if isinstance(recorded, str) else None


def input_facts(settings: InputSettings, section: str) -> dict[str, Any]:
    """What decides which images there are, and what is read of them."""
    facts = {f"{section}.{key}": value for key, value in settings.model_dump(exclude={"uri"}).items()}
    return facts | {f"{section}.uri": [[named.name, named.uri] for named in settings.inputs]}
