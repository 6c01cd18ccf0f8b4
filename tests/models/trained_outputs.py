"""What a train job leaves of a model, made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from tests.models.archives import exported
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.trained import TrainedFor, TrainedFrom, TrainedModel, TrainedOn, TrainedWith, encode_model
from vision_batch.plugin import find_plugin
from vision_batch.storage.table import storage_for

PLUGIN = """
import torch

def build(classes=3):
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, classes))
"""
NO_DIGEST = "0" * 64


def module(seed: int = 1) -> torch.nn.Module:
    """What PLUGIN builds, with the weights of `seed`."""
    torch.manual_seed(seed)
    layers = [torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 3)]
    return torch.nn.Sequential(*layers).eval()


def write_trained(uri: str, folder: Path, *, program: bool = True, seed: int = 1, **fields: Any) -> TrainedModel:
    """The model of PLUGIN as trained into `uri` (local or S3) by a spec in `folder`, where the plug-in is written.

    Without `program` it could not be exported. `fields` are put over the record's.
    """
    (folder / "vb_trained_plugin.py").write_text(PLUGIN)
    plugin = find_plugin("vb_trained_plugin:build", folder, where="model.source")
    files = {"model.safetensors": save(dict(module(seed).state_dict()))}
    if program:
        files["model.pt2"] = exported(module(seed), torch.zeros(2, 3, 8, 8))
    model = TrainedModel(
        **{
            "task": {"type": "classification", "top_k": 2, "score_threshold": 0.0},
            "labels": ["cat", "dog", "owl"],
            "preprocess": PreprocessSettings(resize_px=(8, 8)),
            "metrics": {"accuracy": 0.75},
            "training": TrainedFor(epochs=2, steps=10, model_step=5, ema=False),
            "precision": "fp32",
            "model": TrainedFrom(source="python:vb_trained_plugin:build", options={"classes": 3}, facts={}),
            "data": TrainedOn(
                uris=["/images"],
                definition_sha256=NO_DIGEST,
                catalogue_sha256=NO_DIGEST,
                images=12,
                validation_images=4,
            ),
            "code": TrainedWith(vision_batch="0.1.0", torch="2.13.0", plugins={"model.source": plugin.digest}),
            "files": digests(files),
            "not_exported": None if program else "it branches on its input",
            **fields,
        }
    )
    for name, data in {**files, "model.yaml": encode_model(model)}.items():
        storage_for(uri).put(f"{uri}/{name}", data)
    return model


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
