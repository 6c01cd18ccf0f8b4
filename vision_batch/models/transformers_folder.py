"""A folder in the format of transformers: which of its files decide what the model says, and how they are read."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from vision_batch.errors import ForbiddenError, NotFoundError, Problem, SpecError
from vision_batch.models.digest import checked_file
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, normalise, relative_to, scheme

CONFIG: Final = "config.json"
PROCESSOR: Final = "preprocessor_config.json"
PROCESSORS: Final = "processor_config.json"
"""That of a model of images and texts, where transformers 5 has written it."""
WANTED = re.compile(r"((pre)?processor_)?config\.json|[^/]*\.safetensors|[^/]*\.safetensors\.index\.json")
TOKENIZER = re.compile(
    r"tokenizer\.json|tokenizer_config\.json|vocab\.json|merges\.txt|special_tokens_map\.json|added_tokens\.json"
    r"|spiece\.model|tokenizer\.model"
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
SUFFIX = "_sha256"
CONVERT = (
    "python -c \"import transformers as t; name = t.AutoConfig.from_pretrained('FOLDER').architectures[0]; "
    "getattr(t, name).from_pretrained('FOLDER').save_pretrained('FOLDER')\""
)
INSTALL = "pip install 'vision-batch[transformers]'"


def locate(address: str, folder: Path) -> str:
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
    patterns = ["*.json", "*.safetensors", "merges.txt", "spiece.model", "tokenizer.model"]
    try:
        return str(huggingface_hub.snapshot_download(address, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        found = f"no folder {location}, and the hub did not give {address!r} ({type(error).__name__})"
        expected = f"a folder; where there is a network: huggingface-cli download {address} --local-dir FOLDER"
        raise SpecError(Problem("model.source", found, expected)) from error


def sizes_bytes(location: str, *, with_tokenizer: bool) -> dict[str, int]:
    """By name, in order, the files that decide what the model says; SpecError if no safetensors are among them."""
    try:
        there = {relative_to(info.uri, location): info.size_bytes for info in storage_for(location).list(location)}
    except (NotFoundError, ForbiddenError) as error:
        raise SpecError(Problem("model.source", str(error), "a folder that can be read")) from error
    patterns = (WANTED, TOKENIZER) if with_tokenizer else (WANTED,)
    wanted = {name: there[name] for name in sorted(there) if any(each.fullmatch(name) for each in patterns)}
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


def read_json(location: str, name: str) -> dict[str, Any]:
    """The object in a JSON file of the folder; SpecError if there is none."""
    uri = join(location, name)
    try:
        value = json.loads(storage_for(uri).read(uri))
    except ValueError as error:
        raise SpecError(Problem("model.source", f"{uri} is not JSON: {error}", "a whole file")) from error
    if not isinstance(value, dict):
        raise SpecError(Problem("model.source", f"{uri} is a {type(value).__name__}", "a JSON object"))
    return value


@contextmanager
def on_disk(location: str, facts: Mapping[str, str]) -> Iterator[Path]:
    """A folder with links to exactly the files that `facts` has digests of; ModelError if one has changed since."""
    digests = {
        name.removesuffix(SUFFIX): sha256
        for name, sha256 in facts.items()
        if WANTED.fullmatch(name.removesuffix(SUFFIX)) or TOKENIZER.fullmatch(name.removesuffix(SUFFIX))
    }
    with tempfile.TemporaryDirectory(prefix="vision-batch-model-") as folder:
        for name, sha256 in digests.items():
            Path(folder, name).symlink_to(checked_file(join(location, name), sha256))
        yield Path(folder)
