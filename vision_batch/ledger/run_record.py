"""What is kept of every run: when, with what, how it ended."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from vision_batch import __version__
from vision_batch.errors import LedgerError, NotFoundError
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.table import storage_for

RunStatus = Literal["running", "done", "failed", "incomplete", "interrupted"]
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run. Written when it starts and again when it ends; one that stays `running` was killed.

    Times are UTC, ISO 8601. `counts` are those of `run --json`. `spec` is the resolved spec and holds no secrets:
    specs never do. `predictors` says what each model actor ran on.
    """

    run_id: str
    status: RunStatus
    started: str
    ended: str | None = None
    seconds: float | None = None
    definition: str
    output: str
    version: str
    spec: Mapping[str, Any]
    counts: Mapping[str, Any] = field(default_factory=dict)
    predictors: tuple[str, ...] = ()
    error: str | None = None

    @classmethod
    def begun(cls, *, definition: str, output: str, spec: Mapping[str, Any]) -> RunRecord:
        """Of a run of this version that begins now."""
        return cls(
            run_id=new_run_id(),
            status="running",
            started=_now(),
            definition=definition,
            output=output,
            version=__version__,
            spec=spec,
        )

    def ended_now(
        self,
        status: RunStatus,
        *,
        seconds: float,
        counts: Mapping[str, Any],
        predictors: tuple[str, ...] = (),
        error: str | None = None,
    ) -> RunRecord:
        """The same run, which ends now."""
        return replace(
            self, status=status, ended=_now(), seconds=seconds, counts=counts, predictors=predictors, error=error
        )


def new_run_id(now: datetime | None = None) -> str:
    """A UTC time stamp and a random suffix: `20260102T030405.678Z-1a2b3c4d`. Ids sort as their runs started."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"


def write_run(paths: LedgerPaths, record: RunRecord) -> None:
    """Stores the record under its run's id, over an earlier one of the same run."""
    data = json.dumps({"format": FORMAT, **asdict(record)}, indent=2, sort_keys=True).encode()
    uri = paths.run(record.run_id)
    storage_for(uri).put(uri, data, scratch=paths.scratch)


def read_runs(paths: LedgerPaths) -> list[RunRecord]:
    """Every run of an output, the oldest first."""
    return [*newest_runs(paths)][::-1]


def newest_runs(paths: LedgerPaths) -> Iterator[RunRecord]:
    """Every run of an output, the newest first, each read when it is asked for."""
    storage = storage_for(paths.runs)
    try:
        infos = list(storage.list(paths.runs))
    except NotFoundError:
        return
    for info in reversed(infos):
        yield _decode(info.uri, storage.read(info.uri))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _decode(uri: str, data: bytes) -> RunRecord:
    try:
        facts = json.loads(data)
        if facts.pop("format") != FORMAT:
            raise ValueError("another format")
        return RunRecord(**{**facts, "predictors": tuple(facts["predictors"])})
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerError(uri, f"not a run's record: {error}; no run needs it: delete it") from error
