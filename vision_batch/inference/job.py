"""All that an actor needs to know of a predict run; pickled once and sent to every actor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vision_batch.datasets.settings import InputSettings
from vision_batch.images.settings import PreprocessSettings
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.bundle import ModelBundle
from vision_batch.plugin import Plugin
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.tasks.settings import TaskSettings

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictJob:
    """One run of a predict spec against one output.

    `batch_rows` and `batch_trial` are the layout's, `compile` is the spec's, `gpu_share` what of one GPU an actor has.
    `definition` is a digest; `precision` is resolved, never auto. `proven` says that the model is known to work.
    `row_limits` bounds the rows of shards, by key, when a spec is tried on its first images only. `old_parts` has, by
    key, the parts that an earlier version of a shard's file has left: they go just before the first new one comes.
    """

    paths: LedgerPaths
    run_id: str
    definition: str
    input: InputSettings
    format: str
    preprocess: PreprocessSettings
    function: Plugin | None
    model: ModelBundle
    task: TaskSettings
    max_pixels: int
    precision: str
    cell_rows: int
    batch_rows: int
    extra_fields: tuple[pa.Field, ...]
    batch_trial: bool = False
    compile: bool = False
    gpu_share: float = 1.0
    proven: bool = False
    row_limits: dict[str, int] | None = None
    old_parts: dict[str, tuple[ObjectInfo, ...]] = field(default_factory=dict)

    @property
    def chunk_rows(self) -> int:
        """How many images make a chunk: one where each is many tiles, and its pixels are held at full size."""
        return self.batch_rows if self.task.tile_px is None else 1
