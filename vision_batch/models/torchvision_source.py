"""`torchvision:NAME`: a model that torchvision builds, with safetensors of its weights."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from vision_batch.models.library import built, demand_fit, imported, version_of
from vision_batch.models.source import Resolved, Wanted

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle

LIBRARY: Final = "torchvision"
TASKS: Final = ("classification", "multi_label", "segmentation", "embedding")
DOWNLOADS: Final = ("weights", "weights_backbone")


class TorchvisionSource:
    """`torchvision.models.get_model(NAME, **model.options)`.

    A segmenter's answer is its `out`; an embedding is what a classifier gives to its last linear layer.
    """

    def resolve(self, wanted: Wanted) -> Resolved:
        demand_fit(wanted, tasks=TASKS, downloads=DOWNLOADS)
        facts = {"name": wanted.address, LIBRARY: version_of(LIBRARY)}
        return Resolved(location=wanted.address, facts=facts, variant=wanted.task or "")

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        from vision_batch.models.torchvision_model import Out, without_head
        from vision_batch.models.weights import load_weights

        models = imported(f"{LIBRARY}.models")
        builder = built(models, "get_model_builder", bundle.location)
        no_downloads: dict[str, Any] = {
            name: None for name in DOWNLOADS if name in inspect.signature(builder).parameters
        }
        module = built(models, "get_model", bundle.location, **no_downloads, **bundle.options)
        assert bundle.weights is not None
        load_weights(module, bundle.weights, bundle.facts["weights_sha256"])
        if bundle.variant == "embedding":
            module = without_head(module, bundle.location)
        elif bundle.variant == "segmentation":
            module = Out(module)
        found: torch.nn.Module = module.float().eval()
        return found
