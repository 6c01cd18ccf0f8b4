"""The last step of a training: its model, exported and compared, with all that serving needs; `model.yaml` at the end.

What is written is a function of the checkpoints alone, and `model.yaml`, by which a training is finished, comes last.
So a run that is killed here leaves its work to the next one, which writes the same again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from vision_batch import __version__
from vision_batch.errors import ModelError
from vision_batch.models.bundle import ModelBundle
from vision_batch.models.trained import (
    CURVES,
    DESCRIPTION,
    FOLDER,
    PROGRAM,
    WEIGHTS,
    TrainedFor,
    TrainedFrom,
    TrainedModel,
    TrainedOn,
    TrainedWith,
    encode_model,
)
from vision_batch.models.transformers_folder import PROCESSOR
from vision_batch.models.transformers_source import is_transformers, processor_of
from vision_batch.models.weights import compare
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join
from vision_batch.training.curves import draw_curves
from vision_batch.training.event import TrainEvent
from vision_batch.training.export import export_checked
from vision_batch.training.job import TrainJob

FOLD = "the model of a fold is there to be measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training came to.

    `weights` are those of step `model_step` of `steps`: the best by the task's headline metric, or the last; averaged
    ones if the spec asks for it. `history` is the event of each epoch. `pixels`, uint8 (n, H, W, 3), are some of the
    images that it was validated on, as serving preprocesses them; n may be 0. `catalogue` is the digest of the data.
    """

    weights: Mapping[str, torch.Tensor]
    model_step: int
    steps: int
    history: tuple[TrainEvent, ...]
    catalogue: str
    images: int
    validation_images: int
    pixels: NDArray[np.uint8]

    @property
    def metrics(self) -> dict[str, float]:
        """The validation of these weights; empty where there was none."""
        found = [event.metrics for event in self.history if event.step == self.model_step]
        return dict(found[-1]) if found else {}


def write_model(
    job: TrainJob, outcome: Outcome, *, demand: Callable[[], object], note: Callable[[str], None]
) -> TrainedModel:
    """Writes the files of the trained model into the job's output, and says what they are.

    `demand` is asked before each file: it raises when the output is no longer this run's. `note` is told what people
    should know. ModelError when the weights do not fit the module.
    """
    module = _trained_module(job.model, outcome.weights)
    files = {WEIGHTS: _safetensors(module)}
    reason = None
    try:
        files[PROGRAM] = _exported(job, module, outcome.pixels)
    except ModelError as error:
        reason = str(error)
        if job.fold is None:
            note(f"no {PROGRAM}: {reason}; to predict with trained:, a plug-in must lie beside its spec")
    if is_transformers(job.model):
        files |= {f"{FOLDER}/{name}": data for name, data in _folder(job, module).items()}
    model = _record(job, outcome, files, reason)
    curves = draw_curves(outcome.history, model_step=outcome.model_step)
    for name, data in {**files, CURVES: curves, DESCRIPTION: encode_model(model)}.items():
        demand()
        uri = join(job.paths.output, name)
        storage_for(uri).put(uri, data, scratch=job.paths.scratch)
    return model


def _trained_module(bundle: ModelBundle, weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """A module of its own, in eval mode, on the CPU, whatever the training had wrapped around its own."""
    module = bundle.load()
    if differences := compare(module.state_dict(), weights):
        raise ModelError(f"the trained weights do not fit the model: {'; '.join(differences)}")
    module.load_state_dict({name: tensor.cpu() for name, tensor in weights.items()}, strict=True)
    return module.float().eval()


def _safetensors(module: torch.nn.Module) -> bytes:
    """The state dict; what shares memory there, as tied weights do, is written once for each of its names."""
    return safetensors.torch.save({name: tensor.detach().clone() for name, tensor in module.state_dict().items()})


def _exported(job: TrainJob, module: torch.nn.Module, pixels: NDArray[np.uint8]) -> bytes:
    if job.fold is not None:
        raise ModelError(FOLD)
    size = job.preprocess.output_px or pixels.shape[1:3]
    return export_checked(module, pixels, size=size, mean=job.preprocess.mean, std=job.preprocess.std)


def _folder(job: TrainJob, module: Any) -> dict[str, bytes]:
    """The model as transformers knows it, with the preprocessing that its own folder had."""
    processor = processor_of(job.model)
    return {**module.folder_files(job.labels), **({} if processor is None else {PROCESSOR: processor})}


def _record(job: TrainJob, outcome: Outcome, files: Mapping[str, bytes], reason: str | None) -> TrainedModel:
    plugins = {"model.source": job.model.plugin, "preprocess.function": job.function}
    return TrainedModel.model_validate(
        {
            "task": job.task.model_dump(mode="json"),
            "labels": list(job.labels),
            "preprocess": job.preprocess,
            "metrics": outcome.metrics,
            "training": TrainedFor(
                epochs=len(outcome.history),
                steps=outcome.steps,
                model_step=outcome.model_step,
                ema=job.train.ema is not None,
            ),
            "precision": job.precision,
            "model": TrainedFrom(source=_source(job.model), options=job.model.options, facts=job.model.facts),
            "data": TrainedOn(
                uris=[named.uri for named in job.input.inputs],
                definition_sha256=job.definition,
                catalogue_sha256=outcome.catalogue,
                images=outcome.images,
                validation_images=outcome.validation_images,
            ),
            "code": TrainedWith.model_validate(
                {
                    "vision_batch": __version__,
                    "torch": torch.__version__,
                    "plugins": {place: plugin.digest for place, plugin in plugins.items() if plugin is not None},
                }
            ),
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            "not_exported": reason,
        }
    )


def _source(bundle: ModelBundle) -> str:
    """What builds the module, also of one that was trained before."""
    if bundle.plugin is not None:
        return f"python:{bundle.plugin.name}"
    return f"{'transformers' if is_transformers(bundle) else bundle.kind}:{bundle.location}"
