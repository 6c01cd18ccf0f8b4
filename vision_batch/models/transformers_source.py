"""`transformers:FOLDER_OR_ID`: a model in the format of that library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_batch.errors import Problem, SpecError
from vision_batch.models.digest import file_digest, read_checked
from vision_batch.models.labels import read_labels
from vision_batch.models.processor_config import read_processor
from vision_batch.models.settings import ModelSettings
from vision_batch.models.source import Resolved, refuse_extras
from vision_batch.models.transformers_folder import (
    CONFIG,
    INSTALL,
    PROCESSOR,
    SUFFIX,
    locate,
    on_disk,
    read_json,
    sizes_bytes,
)
from vision_batch.models.transformers_kinds import kind_of
from vision_batch.storage.uri import join

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle

NEW_CLASSES = "new_classes"
"""The option of a model whose head is to be replaced."""


class TransformersSource:
    """Safetensors only and no code from the folder, which also says the labels and the preprocessing.

    How the model is called follows from its class and the spec's task: `transformers_kinds`.

    To be trained for another number of labels than the folder's model has classes, it gets a new head.
    """

    def resolve(
        self,
        address: str,
        settings: ModelSettings,
        folder: Path,
        *,
        task: str | None,
        read_preprocess: bool,
        for_training: bool,
    ) -> Resolved:
        refuse_extras(settings)
        location = locate(address, folder)
        sizes = sizes_bytes(location)
        names = [name for name in sizes if read_preprocess or name != PROCESSOR]
        config = read_json(location, CONFIG)
        kind = kind_of(config, task or "classification", for_training=for_training)
        processor = read_json(location, PROCESSOR) if PROCESSOR in names else None
        where = f"model.source, {PROCESSOR}"
        labels = _labels(config)
        wanted = read_labels(settings.labels, folder) if for_training else None
        is_new_head = wanted is not None and len(wanted) != len(labels or ())
        return Resolved(
            location=location,
            facts={name + SUFFIX: file_digest(join(location, name), where="model.source") for name in names},
            weights_bytes=sum(size for name, size in sizes.items() if name.endswith(".safetensors")),
            labels=labels,
            variant=kind,
            options={NEW_CLASSES: len(wanted)} if wanted is not None and is_new_head else {},
            preprocess=None if processor is None else read_processor(processor, where=where),
        )

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        try:
            from vision_batch.models.transformers_model import load_model
        except ModuleNotFoundError as error:
            if error.name != "transformers":
                raise
            raise SpecError(Problem("model.source", "transformers is not installed", INSTALL)) from error
        with on_disk(bundle.location, bundle.facts) as folder:
            return load_model(folder, bundle.variant, bundle.location, new_classes=bundle.options.get(NEW_CLASSES))


def is_transformers(bundle: ModelBundle) -> bool:
    """Whether the model's module is that library's, also where it was trained before."""
    return CONFIG + SUFFIX in bundle.facts


def processor_of(bundle: ModelBundle) -> bytes | None:
    """The folder's own preprocessing; None where the model does without, or its spec has steps of its own."""
    digest = bundle.facts.get(PROCESSOR + SUFFIX)
    return None if digest is None else read_checked(join(bundle.location, PROCESSOR), digest)


def _labels(config: dict[str, Any]) -> tuple[str, ...] | None:
    names = config.get("id2label")
    if not names:
        return None
    missing = [index for index in range(len(names)) if str(index) not in names]
    if missing:
        raise SpecError(Problem("model.source, id2label", f"no name for class {missing[0]}", "a name per class index"))
    return tuple(str(names[str(index)]) for index in range(len(names)))
