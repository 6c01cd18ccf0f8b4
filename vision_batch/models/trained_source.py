"""`trained:URI`: the model in the output of a train job, with its labels, its task and its preprocessing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vision_batch.errors import NotFoundError, Problem, SpecError
from vision_batch.models.digest import file_digest
from vision_batch.models.export_source import ExportSource
from vision_batch.models.labels import read_labels
from vision_batch.models.python_source import PythonSource
from vision_batch.models.settings import ModelSettings
from vision_batch.models.source import Resolved, Wanted, refuse_extras
from vision_batch.models.trained import DESCRIPTION, FOLDER, PROGRAM, WEIGHTS, PluginPlace, TrainedModel, read_model
from vision_batch.models.transformers_folder import SUFFIX
from vision_batch.models.transformers_source import TransformersSource, is_transformers
from vision_batch.plugin import Plugin, find_plugin
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, normalise

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle

WHERE: Final = "model.source"
SHOWN = 5
"""How many labels a message shows."""


class TrainedSource:
    """Takes the exported program, which was compared with the module when it was written.

    Where there is none, or the model is to be trained further, the plug-in beside the spec builds the module, and it
    must be the one that was trained; a model of transformers is built from its folder.
    """

    def resolve(self, wanted: Wanted) -> Resolved:
        refuse_extras(wanted.settings)
        location = normalise(wanted.address, wanted.folder)
        trained = read_model(location)
        if trained is None:
            raise SpecError(_unfinished(location))
        _check_labels(trained, wanted.settings, wanted.folder)
        found = _module if wanted.for_training or PROGRAM not in trained.files else _program
        return found(trained, location, wanted.folder)

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        if bundle.plugin is not None:
            return PythonSource().load(bundle)
        return (TransformersSource() if is_transformers(bundle) else ExportSource()).load(bundle)


def demand_plugin(trained: TrainedModel, name: str, folder: Path, *, where: PluginPlace) -> Plugin:
    """The plug-in `name` that training used at `where` of its spec; SpecError if `folder` has another one."""
    plugin = find_plugin(name, folder, where=where)
    recorded = trained.code.plugins.get(where)
    if plugin.digest != recorded:
        found = f"{name} in {folder} with SHA-256 {plugin.digest}"
        raise SpecError(Problem(where, found, f"the code that the model was trained with, SHA-256 {recorded}"))
    return plugin


def _program(trained: TrainedModel, location: str, folder: Path) -> Resolved:
    uri = _checked(trained, location, PROGRAM)
    return Resolved(
        location=uri,
        facts={"program_sha256": trained.files[PROGRAM]},
        weights_bytes=storage_for(uri).stat(uri).size_bytes,
        labels=trained.label_names,
        preprocess=trained.preprocess,
        trained=trained,
    )


def _module(trained: TrainedModel, location: str, folder: Path) -> Resolved:
    kind, _, name = trained.model.source.partition(":")
    if kind == "transformers":
        return _transformers(trained, location, folder)
    if kind != "python":
        raise SpecError(Problem(WHERE, f"{location}, made from {trained.model.source}", "a model of a plug-in"))
    try:
        plugin = demand_plugin(trained, name, folder, where=WHERE)
    except SpecError as error:
        why = "is to be trained further" if PROGRAM in trained.files else f"has no {PROGRAM} ({trained.not_exported})"
        raise SpecError(
            [Problem(p.where, p.found, f"{p.expected}, because {location} {why}") for p in error.problems]
        ) from error
    uri = _checked(trained, location, WEIGHTS)
    return Resolved(
        location=name,
        facts={"factory": name, "plugin_sha256": plugin.digest, "weights_sha256": trained.files[WEIGHTS]},
        plugin=plugin,
        weights_bytes=storage_for(uri).stat(uri).size_bytes,
        labels=trained.label_names,
        preprocess=trained.preprocess,
        weights=uri,
        options=trained.model.options,
        trained=trained,
    )


def _transformers(trained: TrainedModel, location: str, folder: Path) -> Resolved:
    """The folder in that library's format, file by file as recorded."""
    settings = ModelSettings(source=f"transformers:{join(location, FOLDER)}")
    found = TransformersSource().resolve(Wanted(settings=settings, folder=folder, task=trained.task.get("type")))
    for fact, digest in found.facts.items():
        _compare(trained, location, f"{FOLDER}/{fact.removesuffix(SUFFIX)}", digest)
    return replace(found, labels=trained.label_names, preprocess=trained.preprocess, trained=trained)


def _checked(trained: TrainedModel, location: str, name: str) -> str:
    """The URI of a model file that is what the record says; SpecError if it is another."""
    uri = join(location, name)
    _compare(trained, location, name, file_digest(uri, where=WHERE))
    return uri


def _compare(trained: TrainedModel, location: str, name: str, found: str) -> None:
    recorded = trained.files.get(name)
    if found != recorded:
        expected = f"SHA-256 {recorded}, as {DESCRIPTION} has recorded it; restore the file, or train again"
        raise SpecError(Problem(WHERE, f"{join(location, name)} with SHA-256 {found}", expected))


def _check_labels(trained: TrainedModel, settings: ModelSettings, folder: Path) -> None:
    given = read_labels(settings.labels, folder)
    if given is not None and given != trained.label_names:
        expected = f"those that it was trained for ({_few(trained.label_names or ())}), or nothing"
        raise SpecError(Problem("model.labels", f"other names ({_few(given)})", expected))


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")


def _unfinished(location: str) -> Problem:
    """Why there is no record of a model: training goes on, or nobody has ever trained there."""
    checkpoints = join(location, "checkpoints")
    try:
        has_begun = any(True for _ in storage_for(checkpoints).list(checkpoints))
    except NotFoundError:
        has_begun = False
    if has_begun:
        expected = f"a {DESCRIPTION}, which training writes last: run the train job again, to its end"
        return Problem(WHERE, f"{location}, whose training has not ended", expected)
    return Problem(WHERE, f"no {DESCRIPTION} in {location}", "trained:<output.uri of a train job that has ended>")
