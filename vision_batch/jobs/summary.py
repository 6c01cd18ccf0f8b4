"""How a run ended, in the words and numbers of `run --json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["done", "incomplete", "interrupted"]
"""How a run ends that does not raise; its record may also say running and failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The figures of one run.

    `images_total` is None while some shard's count is not known. `images_ok` and `images_failed` count rows of the
    whole output, earlier runs included; `images_resumed` those that this run found done and left as they were,
    `images_retried` error rows that it processed again, as asked. `files_pruned` counts files whose rows went.
    `images_per_second` counts this run's images from its first batch on; `stages` are busy seconds of that time, summed
    over all workers. `bottleneck` says which stage limited the run and what would help; None where it was too short to
    tell. `cpus` and `gpus` are the most that its actors had at once. `batch_sizes` says, by predictor, how many images
    its model was given at once in the end; one that was still finding that out is absent.
    """

    run_id: str
    status: str
    precision: str
    images_total: int | None
    images_ok: int
    images_failed: int
    images_resumed: int
    images_retried: int
    files_pruned: int
    failures: dict[str, int]
    shards_total: int
    shards_done: int
    seconds: float
    first_batch_seconds: float | None
    images_per_second: float | None
    bottleneck: str | None
    output: str
    cpus: int = 0
    gpus: float = 0.0
    warnings: tuple[str, ...] = ()
    predictors: tuple[str, ...] = ()
    stages: dict[str, float] = field(default_factory=dict)
    batch_sizes: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def exceeds(self, max_error_fraction: float) -> bool:
        """Whether more than this fraction of the output's rows are error rows."""
        return self.images_failed > max_error_fraction * (self.images_ok + self.images_failed)
