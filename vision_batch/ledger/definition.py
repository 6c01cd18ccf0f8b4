"""The definition: all that decides a prediction's value. An output belongs to exactly one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vision_batch.errors import ChangedError, DefinitionError, ExistsError, LedgerError, NotFoundError, Problem
from vision_batch.ledger.inspect import list_folder, list_parts
from vision_batch.ledger.lease import demand_lease
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for

FORMAT = 1
WAY_OUT = (
    "restore it from a copy, or delete it and run the same spec with the same version of vision-batch: it is written "
    "again, and parts of this definition count as before"
)
"""A part's name says nothing of its definition: under another one it is a conflict, and never a second row."""
CELL_ROWS = 4096
"""Rows per cell of a new output: small enough to lose little, large enough that parts are not dust."""

LIMIT = "limit"
"""The fact of a trial's definition that says how many images it takes; absent for a whole run."""

KIND = "job"
"""The fact that says of which kind of job an output is; absent for predict."""

Fact = Any
"""A JSON value: str, int, float, bool, None, or a list or dict of such."""


@dataclass(frozen=True, slots=True)
class Definition:
    """Facts by name (`model.source`, `preprocess.crop_px`, …). Tuples count as lists."""

    facts: Mapping[str, Fact]

    @property
    def canonical(self) -> str:
        """The same text for the same facts, whatever their order. ValueError for NaN and infinity."""
        return json.dumps(dict(self.facts), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    def differences(self, recorded: Definition) -> list[Problem]:
        """One problem for each fact, or key of one, that differs: found here, expected as recorded."""
        return list(_differences(json.loads(self.canonical), json.loads(recorded.canonical)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedOutput:
    """What an output was created with. `cell_rows` and `created` (UTC, ISO 8601) decide no prediction.

    `labels` are the model's, class index to name, where it has some; the definition has their digest.
    """

    definition: Definition
    cell_rows: int
    created: str
    labels: tuple[str, ...] | None = None


def read_definition(paths: LedgerPaths) -> ClaimedOutput | None:
    """The stored definition, None where nothing has claimed the output; LedgerError when it is damaged."""
    try:
        data = storage_for(paths.definition).read(paths.definition)
    except NotFoundError:
        return None
    try:
        stored = json.loads(data)
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']!r}, this version reads {FORMAT}; use the one that wrote it")
        definition = Definition(dict(stored["definition"]))
        labels = stored.get("labels")
        claimed = ClaimedOutput(
            definition=definition,
            cell_rows=int(stored["cell_rows"]),
            created=str(stored["created"]),
            labels=None if labels is None else tuple(map(str, labels)),
        )
        if stored["digest"] != definition.digest:
            raise ValueError("its digest differs")
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(paths.definition, f"the output's definition cannot be read: {error}; {WAY_OUT}") from error
    return claimed


def claim_definition(
    paths: LedgerPaths,
    definition: Definition,
    *,
    cell_rows: int = CELL_ROWS,
    labels: tuple[str, ...] | None = None,
) -> ClaimedOutput:
    """Makes the output belong to `definition`, or finds that it does; the first of several claimants wins.

    DefinitionError when it belongs to another one: a problem for each fact that differs, and one with the ways out.
    The returned facts, `cell_rows` and `labels` are the stored ones.
    """
    claimed = read_definition(paths) or _claim(paths, definition, cell_rows, labels)
    check_definition(paths, definition, claimed)
    return claimed


def release_definition(paths: LedgerPaths, run_id: str) -> None:
    """Gives back an output that has no part: a first run failed, and its spec may be mended before the next.

    The plan goes first and its newest segment before all of it, the definition last: what is left when this ends
    half-way is a plan of that definition. HeldError once the lease is no longer of run `run_id`; what another run has
    put there by then stays.
    """
    if list_parts(paths):
        return
    storage = storage_for(paths.definition)
    claimed = _planned(paths)
    with suppress(NotFoundError):  # this run did not come so far
        claimed.append(storage.stat(paths.definition))
    for info in claimed:
        demand_lease(paths, run_id)
        with suppress(ChangedError):
            storage.delete(info.uri, if_version=info.version, scratch=paths.scratch)


def check_definition(paths: LedgerPaths, definition: Definition, claimed: ClaimedOutput) -> None:
    """DefinitionError when an output that was claimed belongs to another definition. Writes nothing."""
    differences = definition.differences(claimed.definition)
    if differences:
        ways_out = Problem(
            "output.uri",
            f"{paths.output}, which belongs to the definition of {claimed.created}",
            "another output.uri for this definition, or a spec brought back to what is recorded",
        )
        raise DefinitionError([*differences, ways_out])


def _planned(paths: LedgerPaths) -> list[ObjectInfo]:
    """The segments of the plan, newest first, and then what they refer to."""
    return sorted(list_folder(paths.plan), key=lambda info: paths.segment_number(info.uri) or 0, reverse=True)


def _claim(paths: LedgerPaths, definition: Definition, cell_rows: int, labels: tuple[str, ...] | None) -> ClaimedOutput:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    facts = json.loads(definition.canonical)
    stored = {
        "format": FORMAT,
        "created": created,
        "cell_rows": cell_rows,
        "digest": definition.digest,
        "definition": facts,
        **({} if labels is None else {"labels": list(labels)}),
    }
    data = json.dumps(stored, indent=2, sort_keys=True).encode()
    try:
        storage_for(paths.definition).put(paths.definition, data, if_absent=True, scratch=paths.scratch)
    except ExistsError:
        winner = read_definition(paths)
        if winner is None:
            raise LedgerError(paths.definition, "vanished while this run claimed the output; run again") from None
        return winner
    return ClaimedOutput(definition=Definition(facts), cell_rows=cell_rows, created=created, labels=labels)


def _differences(here: dict[str, Fact], there: dict[str, Fact], place: str = "") -> Iterator[Problem]:
    """Of facts that are sections on both sides only those keys that differ."""
    for name in sorted(here.keys() | there.keys()):
        found, expected = here.get(name), there.get(name)
        if isinstance(found, dict) and isinstance(expected, dict):
            yield from _differences(found, expected, f"{place}{name}.")
        elif _text(here, name) != _text(there, name):
            yield Problem(f"{place}{name}", _text(here, name), _text(there, name))


def _text(facts: dict[str, Fact], name: str) -> str:
    return json.dumps(facts[name], sort_keys=True, ensure_ascii=False) if name in facts else "nothing"
