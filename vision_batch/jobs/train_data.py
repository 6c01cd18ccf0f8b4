"""The images of a train job: planned, counted and split once, when its output is created, and frozen from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain

from vision_batch.datasets.listing import list_inputs
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.errors import LedgerError, Problem, SpecError, StorageError
from vision_batch.jobs.prepare import Parts, reading_input, reading_output
from vision_batch.jobs.prepare_train import PreparedTraining
from vision_batch.ledger.definition import CELL_ROWS
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import Plan, make_plan
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.uri import is_inside
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.catalogue import Catalogue, load_catalogue
from vision_batch.training.catalogue_build import build_catalogue, lanes_for
from vision_batch.training.mask_files import list_masks, store_masks, stored_masks
from vision_batch.training.same_files import demand_same_files, demand_same_input
from vision_batch.training.settings import ValidationSettings
from vision_batch.training.split_sets import training_parts, validation_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainData:
    """What there is to learn from. `validation` has the validation images where they are an input of their own."""

    catalogue: Catalogue
    validation: Catalogue | None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.catalogue.labels

    @property
    def shards(self) -> int:
        return len(self.catalogue.shards) + (0 if self.validation is None else len(self.validation.shards))

    def images(self, fold: int | None = None) -> int:
        """How many images are learned from."""
        return self.catalogue.images(training_parts(self.catalogue.split.parts, fold))

    def validation_images(self, fold: int | None = None) -> int:
        """How many images the model is measured on."""
        if self.validation is not None:
            return self.validation.images(training_parts(1, None))
        return self.catalogue.images(validation_parts(self.catalogue.split.parts, fold))

    def class_images(self, fold: int | None = None) -> tuple[int, ...]:
        """How many of the training images each class has; only zeros where labels name no classes."""
        parts = sorted(training_parts(self.catalogue.split.parts, fold))
        return tuple(int(count) for count in self.catalogue.class_images[parts].sum(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """How one input is counted: its ledger, the `section` of the spec that names it, and its classes, if known.

    `masks` is the folder of masks that is listed with it; None where there is none, or another input lists it. An image
    with its mask has `decoded_bytes` as the model sees it.
    """

    paths: LedgerPaths
    input: InputSettings
    section: str
    masks: str | None
    task: TaskSettings
    labels: tuple[str, ...] | None
    split: ValidationSettings | None
    decoded_bytes: int

    def plan(self, *, write: bool) -> Plan:
        """The plan of the input; SpecError when it or the ledger cannot be used."""
        format = format_named(self.input.format)
        with self._reading():
            return make_plan(self.paths, self.input, format, cell_rows=CELL_ROWS, write=write)

    def open(self, lanes: int, note: Callable[[str], None]) -> Catalogue:
        """The catalogue of then, whose input must not have changed since, or a new one."""
        plan = self.plan(write=True)
        for warning in plan.warnings:
            note(f"warning: {warning}")
        known = self.known(plan)
        if known is not None:
            return known
        note(f"counting the images of {len(plan.shards):,} shards and their labels")
        masks = self._store_masks()
        with self._reading():
            return build_catalogue(
                self.paths,
                self.input,
                plan,
                task=self.task,
                labels=self.labels,
                validation=self.split,
                lanes=lanes,
                masks=masks,
                decoded_bytes=self.decoded_bytes,
                note=lambda text: note(f"warning: {self.section}: {text}"),
            )

    def known(self, plan: Plan) -> Catalogue | None:
        """The catalogue of then, None if there is none; SpecError where its images or masks are not those of `plan`."""
        with reading_output():
            catalogue = load_catalogue(self.paths)
        if catalogue is not None:
            with self._reading():
                demand_same_input(self.paths, catalogue.shards, plan.shards, self._files(), f"{self.section}.uri")
            self.demand_masks(catalogue)
        return catalogue

    def _files(self) -> Iterator[ObjectInfo]:
        """The input's files, in order."""
        format = format_named(self.input.format)
        files = merge(*list_inputs(self.input), key=lambda file: file.uri)
        return (file for file in files if format.is_member(file.uri))

    def demand_masks(self, catalogue: Catalogue) -> None:
        """SpecError unless the masks are those with which the catalogue was made."""
        if self.masks is not None:
            with self._reading("masks"):
                before = stored_masks(self.paths, catalogue.masks, self.masks)
                demand_same_files(before, list_masks(self.masks), f"{self.section}.masks", "the masks")

    def _store_masks(self) -> tuple[str, ...]:
        if self.masks is None:
            return ()
        with self._reading("masks"):
            digests = store_masks(self.paths, list_masks(self.masks), self.masks)
        if not digests:
            expected = "a folder of masks: of the image a/b.jpg the mask a/b.png"
            raise SpecError(Problem(f"{self.section}.masks", f"no .png below {self.masks}", expected))
        return digests

    @contextmanager
    def _reading(self, key: str = "uri") -> Iterator[None]:
        """What the storage says is a problem of the input, or of the output, whose ledger lies in it."""
        try:
            yield
        except StorageError as error:
            with (
                reading_output() if is_inside(error.uri, self.paths.output) else reading_input(f"{self.section}.{key}")
            ):
                raise


def countings(prepared: PreparedTraining) -> tuple[Counting, Counting | None]:
    """Of the input, and of validation images that are an input of their own: these have the classes of the former."""
    parts, paths = prepared.parts, prepared.data
    learned = Counting(
        paths=paths,
        input=parts.input,
        section="input",
        masks=parts.input.masks,
        task=parts.task,
        labels=parts.model.labels,
        split=prepared.settings.validation,
        decoded_bytes=_decoded_bytes(parts),
    )
    if prepared.validation_input is None:
        return learned, None
    masks = prepared.validation_input.masks
    measured = replace(
        learned,
        paths=paths.validation,
        input=prepared.validation_input,
        section="validation",
        masks=None if masks == learned.masks else masks,
        split=None,
    )
    return learned, measured


def _decoded_bytes(parts: Parts) -> int:
    """Of an image as the model sees it, with its mask; 1 where only a plug-in function knows the size."""
    height, width = parts.preprocess.output_px or (0, 0)
    return max(1, height * width * (4 if parts.task.labels_are == "mask" else 3))


def demand_apart(prepared: PreparedTraining) -> None:
    """SpecError where validation images that are an input of their own are learned from as well.

    Names decide, as among several inputs: only the validation images are listed.
    """
    learned, measured = prepared.parts.input, prepared.validation_input
    if measured is None:
        return
    with reading_input():
        listings = [each.listing for each in list_inputs(learned)]
    formats = format_named(learned.format), format_named(measured.format)
    example, count = "", 0
    with reading_input("validation.uri"):
        for info in chain.from_iterable(list_inputs(measured)):
            is_shared = any(listing.covers(info.uri) for listing in listings)
            if is_shared and all(format.is_member(info.uri) for format in formats):
                example, count = example or info.uri, count + 1
    if count:
        files = "1 file" if count == 1 else f"{count:,} files"
        expected = "images that are not learned from: an input.uri without them, or validation.fraction"
        raise SpecError(Problem("validation.uri", f"{files} of input.uri, as {example}", expected))


def open_data(prepared: PreparedTraining, *, most_workers: int, note: Callable[[str], None]) -> TrainData:
    """What was counted when the output was created, or is counted now. The output must be held and claimed.

    SpecError when the input has changed since, or has nothing to learn, or when there are more workers than it was laid
    out for: those would get no image, and all others too many. UnavailableError when it cannot be read.
    """
    learned, measured = countings(prepared)
    lanes = lanes_for(most_workers)
    catalogue = learned.open(lanes, note)
    if most_workers > catalogue.lanes:
        expected = f"at most {catalogue.lanes}, for which this output was laid out at its creation; or another output"
        raise SpecError(Problem("compute.workers", str(most_workers), expected))
    if measured is None:
        return TrainData(catalogue=catalogue, validation=None)
    measured = replace(measured, labels=catalogue.labels)
    return TrainData(catalogue=catalogue, validation=measured.open(lanes, note))


def load_data(prepared: PreparedTraining) -> TrainData | None:
    """What was counted when the output was created; None where nothing was yet. Writes nothing."""
    learned, measured = countings(prepared)
    catalogue = learned.known(learned.plan(write=False))
    validation = None if measured is None else measured.known(measured.plan(write=False))
    if catalogue is None or (measured is not None and validation is None):
        return None
    return TrainData(catalogue=catalogue, validation=validation)


def changed_masks(prepared: PreparedTraining, data: TrainData) -> Iterator[str]:
    """What is to be said after a training whose masks changed meanwhile: nobody knows which ones it learned from."""
    for counting, catalogue in zip(countings(prepared), (data.catalogue, data.validation), strict=True):
        if counting is not None and catalogue is not None:
            try:
                counting.demand_masks(catalogue)
            except (SpecError, StorageError, LedgerError) as error:
                yield f"masks may have changed while the model was trained: {error}"
