"""A spec made ready to travel: every path and variable resolved, its plug-ins beside it, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vision_batch.cluster.package import SPEC_NAME, JobPackage
from vision_batch.cluster.profile import LoadedProfile
from vision_batch.datasets.settings import BESIDE
from vision_batch.documents.yaml_text import yaml_text
from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.settings import EvaluateJobSettings, ImageJobSettings, JobSettings
from vision_batch.jobs.spec import AnySpec
from vision_batch.models.settings import ModelSettings
from vision_batch.models.trained import PROGRAM, read_model
from vision_batch.plugin import find_plugin
from vision_batch.storage.uri import normalise, scheme


def job_package(
    spec: AnySpec, profile: LoadedProfile, *, options: Sequence[str] = (), scheduled_time: datetime | None = None
) -> JobPackage:
    """The job that runs `spec` on the cluster of `profile`. `options` are further ones of `vision-batch run`.

    SpecError with every local path that the cluster's nodes do not see, and for plug-ins that are not there.
    """
    settings = spec.settings
    if isinstance(settings, ImageJobSettings):
        settings = settings.model_copy(update={"model": _absolute(settings.model, spec.folder)})
    problems = [
        Problem(where, f"{path}, a path of this machine", _expected(profile))
        for where, path in local_paths(settings)
        if not profile.settings.sees(path)
    ]
    if problems:
        raise SpecError(problems)
    return JobPackage(
        name=settings.name,
        files={SPEC_NAME: spec_text(settings).encode(), **plugin_files(spec)},
        arguments=("run", SPEC_NAME, "--progress", "--json", *_moment(scheduled_time), *options),
        output=settings.output.uri,
        scheduled_time=scheduled_time,
    )


def plugin_files(spec: AnySpec) -> dict[str, bytes]:
    """The sources of the plug-ins that the spec names, by path in its folder, with all of it that they import."""
    named = _plugin_names(spec.settings, spec.folder) if isinstance(spec.settings, ImageJobSettings) else {}
    plugins = [find_plugin(name, spec.folder, where=where) for where, name in named.items()]
    return {path: text.encode() for plugin in plugins for path, text in plugin.sources}


def _plugin_names(settings: ImageJobSettings, folder: Path) -> dict[str, str]:
    """The plug-ins by the place of the spec that names them: the spec, or the record of its trained model."""
    model, preprocess = settings.model, settings.preprocess
    kind, _, address = model.source.partition(":")
    trained = read_model(normalise(address, folder)) if kind == "trained" else None
    if trained is not None:
        kind, _, address = trained.model.source.partition(":")
        preprocess = trained.preprocess
    is_program = trained is not None and PROGRAM in trained.files and settings.job == "predict"
    names = {
        "model.source": address if kind == "python" and not is_program else None,
        "preprocess.function": None if preprocess is None else preprocess.function,
    }
    return {where: name for where, name in names.items() if name is not None}


def local_paths(settings: JobSettings) -> Iterator[tuple[str, str]]:
    """Where a spec whose URIs are absolute names something of this machine, and what."""
    named = {**_named(settings), "output.uri": settings.output.uri}
    return ((where, uri) for where, uri in named.items() if uri is not None and not scheme(uri))


def _named(settings: JobSettings) -> dict[str, str | None]:
    """What a job reads, by the place in its spec."""
    if isinstance(settings, EvaluateJobSettings):
        truth = None if settings.truth is None else settings.truth.uri
        return {"predictions.uri": settings.predictions.uri, "truth.uri": truth}
    return _of_images(settings) if isinstance(settings, ImageJobSettings) else {}


def _of_images(settings: ImageJobSettings) -> dict[str, str | None]:
    model = settings.model
    address = model.source.partition(":")[2]
    return {
        **{
            f"{section}.uri ({each.name})" if each.name else f"{section}.uri": each.uri
            for section, images in settings.sections.items()
            for each in images.inputs
        },
        **{f"input.allow.{index}": uri for index, uri in enumerate(settings.input.allow)},
        **{f"{section}.{key}": uri for key in BESIDE for section, uri in _beside(settings, key)},
        "model.source": address if os.path.isabs(address) else None,
        "model.weights": model.weights,
        "model.labels": model.labels if isinstance(model.labels, str) else None,
    }


def _beside(settings: ImageJobSettings, key: str) -> Iterator[tuple[str, str | None]]:
    """The folders of masks, or of images, by the section that names them: validation images may share the input's."""
    shared = getattr(settings.input, key)
    yield "input", shared
    named = ((section, getattr(images, key)) for section, images in settings.sections.items())
    yield from ((section, uri) for section, uri in named if uri != shared)


def spec_text(settings: JobSettings) -> str:
    """YAML that loads as `settings` again, wherever it lies: no variable in it is left to be expanded.

    Without `schedule`: when a job runs is none of its own business.
    """
    document = _escaped(settings.model_dump(exclude_unset=True, exclude={"schedule"}))
    return yaml_text(document)


def _absolute(model: ModelSettings, folder: Path) -> ModelSettings:
    """A model's paths, which are relative to the spec's folder, made absolute."""
    paths = {key: value for key in ("weights", "labels") if isinstance(value := getattr(model, key), str)}
    update: dict[str, Any] = {key: normalise(value, folder) for key, value in paths.items()}
    kind, _, address = model.source.partition(":")
    is_hub_id = kind == "transformers" and not scheme(address) and not os.path.isdir(normalise(address, folder))
    if kind != "python" and not is_hub_id:
        update["source"] = f"{kind}:{normalise(address, folder)}"
    return model.model_copy(update=update)


def _moment(scheduled_time: datetime | None) -> tuple[str, ...]:
    if scheduled_time is None:
        return ()
    return "--scheduled-time", f"{scheduled_time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _expected(profile: LoadedProfile) -> str:
    kind = "volumes" if profile.settings.kind == "kuberay" else "shared_paths"
    return f"s3://… or a path below one of {kind} in {profile.path}, which every node of the cluster sees"


def _escaped(value: Any) -> Any:
    """With `$${` for `${` in every text that is not a key: variables have been expanded."""
    match value:
        case str():
            return value.replace("${", "$${")
        case dict():
            return {key: _escaped(child) for key, child in value.items()}
        case list() | tuple():
            return [_escaped(child) for child in value]
        case _:
            return value
