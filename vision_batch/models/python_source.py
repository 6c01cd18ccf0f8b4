"""`python:module:factory`: a plug-in beside the spec that builds the module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_batch.errors import ModelError, VisionBatchError
from vision_batch.models.source import Resolved, Wanted
from vision_batch.plugin import find_plugin

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle


class PythonSource:
    """Calls `factory(**model.options)` and loads `model.weights` into what it returns."""

    def resolve(self, wanted: Wanted) -> Resolved:
        plugin = find_plugin(wanted.address, wanted.folder, where="model.source")
        return Resolved(
            location=wanted.address, plugin=plugin, facts={"factory": wanted.address, "plugin_sha256": plugin.digest}
        )

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        from vision_batch.models.weights import load_weights

        module = _build(bundle)
        if bundle.weights is not None:
            load_weights(module, bundle.weights, bundle.facts["weights_sha256"])
        return module.float().eval()


def _build(bundle: ModelBundle) -> torch.nn.Module:
    import torch

    assert bundle.plugin is not None
    factory = bundle.plugin.load()
    try:
        module = factory(**bundle.options)
    except VisionBatchError:
        raise
    except Exception as error:  # the user's own code: whatever it raises, the model cannot be loaded
        raise ModelError(f"{bundle.location}(**{bundle.options}) raised {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{bundle.location} returned a {type(module).__name__}; expected a torch.nn.Module")
    return module
