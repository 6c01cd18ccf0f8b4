"""What actors tell the driver: small facts that travel as rows of JSON through the dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

from vision_batch.inference.stopwatch import Lap
from vision_batch.ledger.holder import Holder

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["progress", "whole", "part", "withheld", "shard_failed", "cell_failed", "unwritten", "crashed", "fatal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact from an actor.

    progress      `images` more rows were predicted, of which `errors` by code; the model is given `batch_rows` images
                  at once, 0 while that is being found out
    whole         one cell is complete, and its part is being written by the process `writer`
    part          the part of one cell, of `images` rows, is committed; `last` if it is its shard's last; `filled` are
                  the columns from the input that hold a value in any of its rows
    withheld      `batches` more batches of which every image failed in the model, and none has worked yet: their cells
                  are not committed; `message` is the last failure
    shard_failed  the storage did not let `shard` be finished, because of `message`; it stays undone
    cell_failed   something keeps the part of one cell from its place: `message`; the cell stays undone
    unwritten     the storage did not take the part of one cell, because of `message`; its shard stays undone
    crashed       the work on `shard` kills its processes, and no image is to blame: `message`; it stays undone
    fatal         the run cannot go on, because of `message`

    `worker` says where: host, node, pid, device, and the GPUs that Ray gave the actor. `laps` are what workers, by
    name, have done since they last reported.
    """

    kind: Kind
    shard: str = ""
    cell: int = 0
    last: bool = False
    images: int = 0
    batches: int = 0
    batch_rows: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    laps: Mapping[str, Lap] = field(default_factory=dict)
    filled: Sequence[str] = ()
    message: str = ""
    worker: Mapping[str, str] = field(default_factory=dict)
    writer: Holder | None = None

    @property
    def worker_name(self) -> str:
        return worker_name(self.worker)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Event:
        facts = json.loads(text)
        laps = {worker: Lap.from_dict(lap) for worker, lap in facts["laps"].items()}
        writer = None if facts["writer"] is None else Holder(**facts["writer"])
        return Event(**{**facts, "filled": tuple(facts["filled"]), "laps": laps, "writer": writer})

    def to_table(self) -> pa.Table:
        """One row with the column `event`."""
        import pyarrow as pa

        return pa.table({"event": [self.to_json()]})


def worker_name(worker: Mapping[str, str]) -> str:
    """An event's `worker` in one line."""
    return " ".join(f"{key}={value}" for key, value in worker.items())


def worker_facts(name: str) -> dict[str, str]:
    """The `worker` that has this name."""
    return {key: value for key, _, value in (fact.partition("=") for fact in name.split())}


def events_of(table: pa.Table) -> list[Event]:
    """The events in a batch of the dataset's last stage."""
    return [Event.from_json(text) for text in table["event"].to_pylist()]
