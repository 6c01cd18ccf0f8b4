"""`transformers:FOLDER_OR_ID`: a model in the format of that library."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vision_batch.errors import Problem, SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.digest import file_digest, read_checked
from vision_batch.models.labels import read_labels
from vision_batch.models.processor_config import read_processor
from vision_batch.models.prompts import Prompts, prompted_labels, texts_of
from vision_batch.models.source import Resolved, Wanted, refuse_extras
from vision_batch.models.transformers_folder import (
    CONFIG,
    INSTALL,
    PROCESSOR,
    PROCESSORS,
    SUFFIX,
    TOKENIZER,
    locate,
    on_disk,
    read_json,
    sizes_bytes,
)
from vision_batch.models.transformers_kinds import BY_PROMPTS, EMBEDDERS, PROMPTED, kind_of
from vision_batch.storage.uri import join

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle

NEW_CLASSES: Final = "new_classes"
"""The option of a model whose head is to be replaced."""
PROMPTS: Final = "prompts"
"""The option of one whose classes are told in words."""


class TransformersSource:
    """Safetensors only and no code from the folder, which also says the labels and the preprocessing.

    How the model is called follows from its class and the spec's task: `transformers_kinds`.

    To be trained for another number of labels than the folder's model has classes, it gets a new head.
    """

    def resolve(self, wanted: Wanted) -> Resolved:
        refuse_extras(wanted.settings)
        location = locate(wanted.address, wanted.folder)
        prompts = wanted.settings.prompts
        sizes = sizes_bytes(location, with_tokenizer=prompts is not None)
        names = [name for name in sizes if name not in _unread(sizes, read_preprocess=wanted.read_preprocess)]
        config = read_json(location, CONFIG)
        asked = (wanted.task or "classification") + ("" if prompts is None else BY_PROMPTS)
        kind = kind_of(config, asked, for_training=wanted.for_training)
        if prompts is not None:
            _demand_tokenizer(location, names)
        given = (
            read_labels(wanted.settings.labels, wanted.folder) if wanted.for_training or prompts is not None else None
        )
        labels, options = _classes(config, kind, prompts, given)
        if wanted.for_training and NEW_CLASSES not in options:
            _demand_plain_masks(location, names)
        return Resolved(
            location=location,
            facts={name + SUFFIX: file_digest(join(location, name), where="model.source") for name in names},
            weights_bytes=sum(size for name, size in sizes.items() if name.endswith(".safetensors")),
            labels=labels,
            variant=kind,
            options=options,
            preprocess=_preprocess(location, names),
        )

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        try:
            from vision_batch.models.transformers_model import load_model
        except ModuleNotFoundError as error:
            if error.name != "transformers":
                raise
            raise SpecError(Problem("model.source", "transformers is not installed", INSTALL)) from error
        with on_disk(bundle.location, bundle.facts) as folder:
            return load_model(
                folder,
                bundle.variant,
                bundle.location,
                new_classes=bundle.options.get(NEW_CLASSES),
                **_said(bundle, folder),
            )


def is_transformers(bundle: ModelBundle) -> bool:
    """Whether the model's module is that library's, also where it was trained before."""
    return CONFIG + SUFFIX in bundle.facts


def processor_of(bundle: ModelBundle) -> bytes | None:
    """The folder's own preprocessing; None where the model does without, or its spec has steps of its own."""
    digest = bundle.facts.get(PROCESSOR + SUFFIX)
    return None if digest is None else read_checked(join(bundle.location, PROCESSOR), digest)


def _said(bundle: ModelBundle, folder: Path) -> dict[str, Any]:
    """What the spec says to the wrapper of such a model; `folder` is where its files are."""
    if bundle.variant in EMBEDDERS:
        return {"pooling": bundle.pooling}
    if bundle.variant == PROMPTED:
        return {"texts": texts_of(bundle.options[PROMPTS], bundle.labels or ()), "tokenizer": folder}
    return {}


def _classes(
    config: dict[str, Any], kind: str, prompts: Prompts | None, given: tuple[str, ...] | None
) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
    """The model's labels, or those that it is told, and what loading must know of them.

    `given` are the spec's labels, where a model is told its classes or trained for them.
    """
    if prompts is not None:
        return prompted_labels(prompts, given), {PROMPTS: prompts}
    labels = None if kind in EMBEDDERS else _labels(config)
    if given is None or len(given) == len(labels or ()):
        return labels, {}
    return labels, {NEW_CLASSES: len(given)}


def _unread(names: Collection[str], *, read_preprocess: bool) -> tuple[str, ...]:
    """The processors that decide nothing: where there are both files the first one does."""
    if not read_preprocess:
        return PROCESSOR, PROCESSORS
    return (PROCESSORS,) if PROCESSOR in names else ()


def _preprocess(location: str, names: list[str]) -> PreprocessSettings | None:
    """What the folder's processor does to images; None where there is none of these `names`."""
    if PROCESSOR in names:
        return read_processor(read_json(location, PROCESSOR), where=f"model.source, {PROCESSOR}")
    if PROCESSORS in names:
        config = read_json(location, PROCESSORS).get("image_processor")
        return read_processor(config or {}, where=f"model.source, {PROCESSORS}, image_processor")
    return None


def _demand_plain_masks(location: str, names: list[str]) -> None:
    """SpecError where the library would subtract 1 of the masks from which a model of its own classes learns."""
    config = read_json(location, PROCESSOR) if PROCESSOR in names else {}
    if config.get("do_reduce_labels") or config.get("reduce_labels"):
        expected = "false, and masks whose values are class indices: in those that count from 1, 1 less, and 255 for 0"
        raise SpecError(Problem(f"model.source, {PROCESSOR}", "do_reduce_labels: true in a train job", expected))


def _demand_tokenizer(location: str, names: list[str]) -> None:
    """SpecError where model.prompts could not be read; SentencePiece's own files need that library."""
    found = list(filter(TOKENIZER.fullmatch, names))
    if not found:
        expected = "tokenizer.json, or vocab.json and merges.txt, beside the model that model.prompts are told to"
        raise SpecError(Problem("model.source", f"no tokenizer in {location}", expected))
    if {"tokenizer.json", "vocab.json"}.isdisjoint(found) and find_spec("sentencepiece") is None:
        missing = f"only {', '.join(found)} in {location}, and sentencepiece is not installed"
        raise SpecError(Problem("model.source", missing, "pip install sentencepiece, or a folder with tokenizer.json"))


def _labels(config: dict[str, Any]) -> tuple[str, ...] | None:
    names = config.get("id2label")
    if not names:
        return None
    missing = [index for index in range(len(names)) if str(index) not in names]
    if missing:
        raise SpecError(Problem("model.source, id2label", f"no name for class {missing[0]}", "a name per class index"))
    return tuple(str(names[str(index)]) for index in range(len(names)))
