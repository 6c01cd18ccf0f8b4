"""`timm:NAME`: a model that the library timm builds, with safetensors of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from vision_batch.errors import ModelError, Problem, SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.library import built, demand_fit, imported, version_of
from vision_batch.models.source import Resolved, Wanted

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle

LIBRARY: Final = "timm"
TASKS: Final = ("classification", "multi_label", "embedding")
DOWNLOADS: Final = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")
INTERPOLATIONS: Final = ("bilinear", "bicubic")
WHERE: Final = "model.source, pretrained_cfg"


class TimmSource:
    """`timm.create_model(NAME, **model.options)`, and the steps of its pretrained_cfg where the spec has none.

    Only those need timm, and thereby torch, on the driver. An embedding is what the model gives to its classifier, as
    `reset_classifier(0)` leaves it: `weights` are those of the whole model.
    """

    def resolve(self, wanted: Wanted) -> Resolved:
        demand_fit(wanted, tasks=TASKS, downloads=DOWNLOADS)
        return Resolved(
            location=wanted.address,
            facts={"name": wanted.address, LIBRARY: version_of(LIBRARY)},
            preprocess=_preprocess(wanted.address) if wanted.read_preprocess else None,
            variant=wanted.task or "",
        )

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        from vision_batch.models.weights import load_weights

        module = built(imported(LIBRARY), "create_model", bundle.location, pretrained=False, **bundle.options)
        assert bundle.weights is not None
        load_weights(module, bundle.weights, bundle.facts["weights_sha256"])
        if bundle.variant == "embedding":
            module.reset_classifier(0)
        found: torch.nn.Module = module.float().eval()
        return found


def _preprocess(name: str) -> PreprocessSettings:
    try:
        found = built(imported(LIBRARY), "get_pretrained_cfg", name)
    except ModelError as error:
        raise SpecError(Problem("model.source", str(error), "a model that timm knows")) from error
    if found is None:
        raise SpecError(Problem("model.source", f"timm:{name}", "a model that timm knows"))
    return read_pretrained_cfg(found.to_dict())


def read_pretrained_cfg(cfg: Mapping[str, Any]) -> PreprocessSettings:
    """The steps of timm's transform for evaluation (`transforms_imagenet_eval`): resize, centre crop, normalise.

    SpecError for others, as its crop mode `border`.
    """
    channels, height, width = cfg["input_size"]
    shares = {"interpolation": cfg["interpolation"], "mean": tuple(cfg["mean"]), "std": tuple(cfg["std"])}
    mode = cfg.get("crop_mode") or "center"
    if channels != 3 or height != width or shares["interpolation"] not in INTERPOLATIONS:
        found = f"input_size {tuple(cfg['input_size'])}, interpolation {shares['interpolation']}"
        raise SpecError(Problem(WHERE, found, "squares of three channels, bilinear or bicubic; or steps in preprocess"))
    if mode not in ("center", "squash"):
        raise SpecError(Problem(WHERE, f"crop_mode {mode}", "center or squash; or steps in preprocess"))
    before_px = math.floor(height / cfg["crop_pct"])
    resize = {"resize_px": (before_px, before_px)} if mode == "squash" else {"resize_shorter_px": before_px}
    return PreprocessSettings(**resize, crop_px=height, **shares)
