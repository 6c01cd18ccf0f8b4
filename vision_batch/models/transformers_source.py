"""`transformers:FOLDER_OR_ID`: an image classifier in the format of that library."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_batch.errors import ForbiddenError, NotFoundError, Problem, SpecError
from vision_batch.models.digest import checked_file, file_digest, read_checked
from vision_batch.models.labels import read_labels
from vision_batch.models.processor_config import read_processor
from vision_batch.models.settings import ModelSettings
from vision_batch.models.source import Resolved, refuse_extras
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, normalise, relative_to, scheme

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
WANTED = re.compile(r"config\.json|preprocessor_config\.json|[^/]*\.safetensors|[^/]*\.safetensors\.index\.json")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
SUFFIX = "_sha256"
NEW_CLASSES = "new_classes"
"""The option of a model whose head is to be replaced."""
CONVERT = (
    'python -c "from transformers import AutoModelForImageClassification as A; '
    "A.from_pretrained('FOLDER').save_pretrained('FOLDER')\""
)
INSTALL = "pip install 'vision-batch[transformers]'"


class TransformersSource:
    """Safetensors only and no code from the folder, which also says the labels and the preprocessing.

    To be trained for another number of labels than the folder's model has classes, it gets a new head.
    """

    def resolve(
        self, address: str, settings: ModelSettings, folder: Path, *, read_preprocess: bool, for_training: bool
    ) -> Resolved:
        refuse_extras(settings)
        location = _locate(address, folder)
        sizes = _sizes_bytes(location)
        names = [name for name in sizes if read_preprocess or name != PROCESSOR]
        config = _read_json(location, CONFIG)
        processor = _read_json(location, PROCESSOR) if PROCESSOR in names else None
        where = f"model.source, {PROCESSOR}"
        labels = _labels(config)
        wanted = read_labels(settings.labels, folder) if for_training else None
        is_new_head = wanted is not None and len(wanted) != len(labels or ())
        return Resolved(
            location=location,
            facts={name + SUFFIX: file_digest(join(location, name), where="model.source") for name in names},
            weights_bytes=sum(size for name, size in sizes.items() if name.endswith(".safetensors")),
            labels=labels,
            options={NEW_CLASSES: len(wanted)} if wanted is not None and is_new_head else {},
            preprocess=None if processor is None else read_processor(processor, where=where),
        )

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        try:
            from vision_batch.models.transformers_model import load_classifier
        except ModuleNotFoundError as error:
            if error.name != "transformers":
                raise
            raise SpecError(Problem("model.source", "transformers is not installed", INSTALL)) from error
        with _on_disk(bundle) as folder:
            return load_classifier(folder, bundle.location, new_classes=bundle.options.get(NEW_CLASSES))


def is_transformers(bundle: ModelBundle) -> bool:
    """Whether the model's module is that library's, also where it was trained before."""
    return CONFIG + SUFFIX in bundle.facts


def processor_of(bundle: ModelBundle) -> bytes | None:
    """The folder's own preprocessing; None where the model does without, or its spec has steps of its own."""
    digest = bundle.facts.get(PROCESSOR + SUFFIX)
    return None if digest is None else read_checked(join(bundle.location, PROCESSOR), digest)


def _locate(address: str, folder: Path) -> str:
    """The URI of the folder: `address` itself, or where the hub's files lie on this machine."""
    location = normalise(address, folder)
    if scheme(location) or Path(location).is_dir():
        return location
    if not HUB_ID.fullmatch(address):
        raise SpecError(Problem("model.source", f"no folder {location}", "a folder, s3://… or the id of a hub's model"))
    return _download(address, location)


def _download(address: str, location: str) -> str:
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ModuleNotFoundError as error:
        raise SpecError(Problem("model.source", "huggingface_hub is not installed", INSTALL)) from error
    patterns = [CONFIG, PROCESSOR, "*.safetensors", "*.safetensors.index.json"]
    try:
        return str(huggingface_hub.snapshot_download(address, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        found = f"no folder {location}, and the hub did not give {address!r} ({type(error).__name__})"
        expected = f"a folder; where there is a network: huggingface-cli download {address} --local-dir FOLDER"
        raise SpecError(Problem("model.source", found, expected)) from error


def _sizes_bytes(location: str) -> dict[str, int]:
    """By name, in order, the files that decide what the model says; SpecError if no safetensors are among them."""
    try:
        there = {relative_to(info.uri, location): info.size_bytes for info in storage_for(location).list(location)}
    except (NotFoundError, ForbiddenError) as error:
        raise SpecError(Problem("model.source", str(error), "a folder that can be read")) from error
    wanted = {name: there[name] for name in sorted(there) if WANTED.fullmatch(name)}
    if CONFIG not in wanted:
        raise SpecError(Problem("model.source", f"no {CONFIG} in {location}", "a folder as save_pretrained writes it"))
    if not any(name.endswith(".safetensors") for name in wanted):
        raise SpecError(_no_safetensors(location, [name for name in sorted(there) if name.endswith(PICKLES)]))
    return wanted


def _no_safetensors(location: str, pickles: list[str]) -> Problem:
    if not pickles:
        return Problem("model.source", f"no *.safetensors in {location}", "weights as save_pretrained writes them")
    found = f"only {', '.join(pickles)} in {location}: a pickle, which can run any code when it is loaded"
    return Problem("model.source", found, f"*.safetensors; convert a folder you trust: {CONVERT}")


def _read_json(location: str, name: str) -> dict[str, Any]:
    uri = join(location, name)
    try:
        value = json.loads(storage_for(uri).read(uri))
    except ValueError as error:
        raise SpecError(Problem("model.source", f"{uri} is not JSON: {error}", "a whole file")) from error
    if not isinstance(value, dict):
        raise SpecError(Problem("model.source", f"{uri} is a {type(value).__name__}", "a JSON object"))
    return value


def _labels(config: dict[str, Any]) -> tuple[str, ...] | None:
    names = config.get("id2label")
    if not names:
        return None
    missing = [index for index in range(len(names)) if str(index) not in names]
    if missing:
        raise SpecError(Problem("model.source, id2label", f"no name for class {missing[0]}", "a name per class index"))
    return tuple(str(names[str(index)]) for index in range(len(names)))


@contextmanager
def _on_disk(bundle: ModelBundle) -> Iterator[Path]:
    """A folder with links to exactly the files that were digested; ModelError if one has changed since."""
    digests = {
        name.removesuffix(SUFFIX): sha256
        for name, sha256 in bundle.facts.items()
        if WANTED.fullmatch(name.removesuffix(SUFFIX))
    }
    with tempfile.TemporaryDirectory(prefix="vision-batch-model-") as folder:
        for name, sha256 in digests.items():
            Path(folder, name).symlink_to(checked_file(join(bundle.location, name), sha256))
        yield Path(folder)
