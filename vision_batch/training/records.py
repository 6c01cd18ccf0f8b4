"""What a training leaves beside its output: OUTPUT-metrics/<run_id>/, readable while it runs."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join
from vision_batch.training.event import BrokenImage, TrainEvent
from vision_batch.training.recorded import recorded_epochs
from vision_batch.training.tensorboard import Scalar, event_file

PERIOD_S = 30.0
"""The longest that steps are kept before they are written."""
MOST_BROKEN = 100_000
"""So many broken images are listed by run; more are only counted."""

STEPS = pa.schema(
    [
        ("step", pa.int64()),
        ("epoch", pa.int32()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("images_per_second", pa.float64()),
        ("waited", pa.float64()),
        ("workers", pa.int32()),
        ("seconds", pa.float64()),
    ]
)
EPOCHS = pa.schema(
    [
        ("epoch", pa.int32()),
        ("step", pa.int64()),
        ("train_loss", pa.float64()),
        ("images", pa.int64()),
        ("broken", pa.int64()),
        ("is_best", pa.bool_()),
        ("seconds", pa.float64()),
    ]
)
BROKEN = pa.schema(
    [
        ("image_id", pa.string()),
        ("shard", pa.string()),
        ("row", pa.int64()),
        ("error_code", pa.string()),
        ("error", pa.string()),
        ("epoch", pa.int32()),
    ]
)


class TrainRecords:
    """Writes what the events of one run tell, in numbered files that are never written again.

    steps   one row a step of the optimizer: its `loss` over all workers' images, null where the step was left out,
            its `learning_rate` and its `gradient_norm` before clipping; what else there is stands for all steps since
            the news before, which come about twice a second: `images_per_second`, `waited`, the share of the time that
            the first worker waited for images, and `seconds` from the run's start
    epochs  one row an epoch, with `validation_<name>` for each metric that validation gave; `seconds` is null in one
            that an earlier run went through and had no time to write
    broken  every image that training went without, once, and the `epoch` that first met it
    tensorboard/  the same curves as event files

    All that is behind a checkpoint is written when that is told of. An epoch's row is not written before: an epoch that
    was lost with its workers comes again, and one that a checkpoint holds and no file is written when training begins.
    Steps that were lost come again too, and have a row for each time.
    `epoch` counts from 1, as for people. Memory: the steps of PERIOD_S and at most MOST_BROKEN identities.
    """

    def __init__(self, metrics: str, run_id: str, started: float, *, fold: int | None = None) -> None:
        """`metrics` is the URI of all runs' folders; `started` is the run's start on the monotonic clock."""
        self._all_runs = metrics
        self._fold = fold
        self._folder = join(metrics, run_id, *(() if fold is None else (f"fold-{fold}",)))
        self._started = started
        self._flushed = time.monotonic()
        self._steps: list[dict[str, Any]] = []
        self._epochs: list[dict[str, Any]] = []
        self._uncommitted: TrainEvent | None = None
        self._broken: list[dict[str, Any]] = []
        self._scalars: list[Scalar] = []
        self._listed: set[tuple[str, int]] = set()
        self._metrics: dict[str, None] = {}
        self._numbers: dict[str, int] = {}

    def add(self, event: TrainEvent) -> None:
        """Takes what `event` tells; writes at a checkpoint and every PERIOD_S. StorageError."""
        if event.kind == "begin":
            self._begin(event.history)
        elif event.kind == "step":
            self._add_steps(event)
        elif event.kind == "epoch":
            self._uncommitted = event
        elif event.kind == "checkpoint" and self._uncommitted is not None:
            self._add_epoch(self._uncommitted, self._seconds())
            self._uncommitted = None
        elif event.kind == "broken":
            self._broken += [row for image in event.images_broken for row in self._new_broken(image, event.epoch)]
        if event.kind in ("begin", "checkpoint", "done") or time.monotonic() - self._flushed > PERIOD_S:
            self.flush()

    def flush(self) -> None:
        """Writes what is kept, into the next file of each kind. StorageError."""
        self._flushed = time.monotonic()
        names = [f"validation_{name}" for name in self._metrics]
        epochs = pa.schema([*EPOCHS, *((name, pa.float64()) for name in names)])
        for kind, rows, schema in (
            ("steps", self._steps, STEPS),
            ("epochs", self._epochs, epochs),
            ("broken", self._broken, BROKEN),
        ):
            if rows:
                sink = io.BytesIO()
                pq.write_table(pa.Table.from_pylist(rows, schema), sink, compression="zstd")
                self._put(f"{kind}-{self._number(kind):06d}.parquet", sink.getvalue())
                rows.clear()
        if self._scalars:
            name = f"events.out.tfevents.{self._number('tensorboard'):06d}"
            self._put(f"tensorboard/{name}", event_file(self._scalars, time=self._scalars[0].time))
            self._scalars.clear()

    def _add_steps(self, event: TrainEvent) -> None:
        first = event.step - len(event.taken) + 1
        seconds, now = self._seconds(), time.time()
        for step, taken in enumerate(event.taken, first):
            self._steps.append(
                {
                    "step": step,
                    "epoch": event.epoch + 1,
                    "loss": taken.loss,
                    "learning_rate": taken.learning_rate,
                    "gradient_norm": taken.gradient_norm,
                    "images_per_second": event.images_per_second,
                    "waited": event.waited,
                    "workers": event.workers,
                    "seconds": seconds,
                }
            )
            curves = {
                "train/step_loss": taken.loss,
                "train/learning_rate": taken.learning_rate,
                "train/gradient_norm": taken.gradient_norm,
            }
            self._scalars += [
                Scalar(tag=tag, step=step, value=value, time=now) for tag, value in curves.items() if value is not None
            ]
        speeds = {"speed/images_per_second": event.images_per_second, "speed/waited_for_images": event.waited}
        self._scalars += [Scalar(tag=tag, step=event.step, value=value, time=now) for tag, value in speeds.items()]

    def _begin(self, history: Sequence[TrainEvent]) -> None:
        """Takes the epochs that are over and have no row: their run was killed between checkpoint and row."""
        self._uncommitted = None
        recorded = recorded_epochs(self._all_runs, fold=self._fold) if history else set()
        for event in history:
            if event.epoch not in recorded:
                self._add_epoch(event, None)

    def _add_epoch(self, event: TrainEvent, seconds: float | None) -> None:
        self._metrics.update(dict.fromkeys(event.metrics))
        self._epochs.append(
            {
                "epoch": event.epoch + 1,
                "step": event.step,
                "train_loss": event.loss,
                "images": event.images,
                "broken": event.broken,
                "is_best": event.is_best,
                "seconds": seconds,
                **{f"validation_{name}": value for name, value in event.metrics.items()},
            }
        )
        values = {f"validation/{name}": value for name, value in event.metrics.items()}
        if event.loss is not None:
            values["train/loss"] = event.loss
        now = time.time()
        self._scalars += [Scalar(tag=tag, step=event.step, value=value, time=now) for tag, value in values.items()]

    def _new_broken(self, image: BrokenImage, epoch: int) -> list[dict[str, Any]]:
        """Its row, unless it is listed already."""
        identity = image.shard, image.row
        if identity in self._listed or len(self._listed) >= MOST_BROKEN:
            return []
        self._listed.add(identity)
        return [
            {
                "image_id": image.image_id,
                "shard": image.shard,
                "row": image.row,
                "error_code": image.error_code,
                "error": image.error,
                "epoch": epoch + 1,
            }
        ]

    def _seconds(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _number(self, kind: str) -> int:
        self._numbers[kind] = self._numbers.get(kind, -1) + 1
        return self._numbers[kind]

    def _put(self, name: str, data: bytes) -> None:
        uri = join(self._folder, name)
        storage_for(uri).put(uri, data)
