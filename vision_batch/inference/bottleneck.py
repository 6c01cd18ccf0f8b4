"""Which stage limited a run: the one whose workers were busy for the largest share of the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vision_batch.inference.layout import CONCURRENT_CALLS, Layout

_ADVICE = {
    "read": "storage or network limits it: more actors read more shards at once",
    "decode": "more CPUs would decode more images at once",
    "model": "a faster or another accelerator, a larger compute.batch_size or a lower compute.precision would help",
    "postprocess": "more predictors (compute.predictors) would share it",
    "write": "a faster output storage would help",
}


STEADY_S = 3.0
"""What limited a run that had no more than this after its first batch is anybody's guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """`shares` are busy shares by stage, 0 to 1: busy seconds over the seconds that all workers of the stage had."""

    stage: str
    shares: dict[str, float]

    def sentence(self) -> str:
        busy = f"busy {100 * self.shares[self.stage]:.0f} % of the time"
        others = ", ".join(f"{name} {100 * share:.0f} %" for name, share in self.shares.items() if name != self.stage)
        return f"{self.stage} ({busy}; {others}): {_ADVICE[self.stage]}"


def find_bottleneck(seconds: Mapping[str, float], layout: Layout, wall_s: float) -> Bottleneck | None:
    """From busy seconds by stage, summed over all workers, and the seconds from the first batch to the last.

    None where these are too few to tell.
    """
    workers = _workers(layout)
    # the same threads decode and preprocess: together they show whether these are enough
    busy = {**seconds, "decode": seconds.get("decode", 0) + seconds.get("preprocess", 0)}
    if not layout.gpus_per_predictor:  # where the model's own thread copies
        busy["model"] = seconds.get("model", 0) + seconds.get("copy", 0)
    shares = {
        stage: min(1.0, busy.get(stage, 0) / (count * wall_s))
        for stage, count in workers.items()
        if wall_s > STEADY_S and busy.get(stage, 0) > 0
    }
    if not shares:
        return None
    return Bottleneck(stage=max(shares, key=lambda stage: shares[stage]), shares=shares)


def _workers(layout: Layout) -> dict[str, int]:
    """How many of each stage can be busy at the same time."""
    readers = layout.predictors if layout.name == "joined" else layout.preprocessors
    return {
        "read": readers * (CONCURRENT_CALLS if layout.name == "joined" else 1),
        "decode": readers * max(1, layout.decode_threads),
        "model": layout.predictors,
        "postprocess": layout.predictors,
        "write": layout.predictors if layout.name == "joined" else 1,
    }
