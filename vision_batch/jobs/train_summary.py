"""How a run of a train job ended, in the words and numbers of `run --json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSummary:
    """The figures of one run.

    `images_total` counts the images to learn from and to be measured on, each once; None where the run ended before.
    `images_failed` are those of them that could not be used, `failures` by code. `images_resumed` are the images, of
    all epochs together, that earlier runs had learned from. `epochs` and `steps` are those that are over, of
    `epochs_total`. `metrics` is the validation of the final model, of folds their mean; before it is there, the latest.
    A metric `loss` is the validation's, while `loss` itself is that of training.
    `best_checkpoint` is the URI of the one whose weights it has. `waited` is the share of time in which the first
    worker stood still for want of images. `folds` has the metrics by fold, from fold 0, `deviations` their
    standard deviation.
    """

    run_id: str
    status: str
    precision: str
    images_total: int | None
    images_ok: int
    images_failed: int
    images_resumed: int
    failures: dict[str, int]
    shards_total: int
    shards_done: int
    seconds: float
    first_batch_seconds: float | None
    images_per_second: float | None
    waited: float | None
    bottleneck: str | None
    output: str
    metrics: dict[str, float]
    epochs: int
    epochs_total: int
    steps: int
    best_checkpoint: str | None
    workers: int = 0
    cpus: int = 0
    gpus: int = 0
    loss: float | None = None
    folds: tuple[dict[str, float], ...] = ()
    deviations: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def exceeds(self, max_error_fraction: float) -> bool:
        """Whether more than this fraction of the images could not be used."""
        return self.images_failed > max_error_fraction * (self.images_ok + self.images_failed)


def validation_figures(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as people are told of them, beside the loss of training: their `loss` is `validation_loss`."""
    return {"validation_loss" if name == "loss" else name: value for name, value in metrics.items()}
