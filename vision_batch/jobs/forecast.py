"""What a run of a predict job would do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vision_batch.cluster.machine import machine_resources
from vision_batch.errors import StorageError
from vision_batch.inference.layout import Layout, Resources, choose_layout
from vision_batch.inference.settings import AUTO, EXACT
from vision_batch.jobs.cost import Cost, estimate_cost
from vision_batch.jobs.prepare import Prepared, prepare, reading_input, reading_output
from vision_batch.jobs.rate_card import RateCard
from vision_batch.jobs.spec import AnySpec
from vision_batch.ledger.definition import check_definition
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import Plan, make_plan
from vision_batch.ledger.run_record import newest_runs
from vision_batch.ledger.state import OutputState, look, todo
from vision_batch.storage.uri import is_inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The figures of `plan --json`. `images_total` is None while a shard's count is not known (tars have no index);
    `images_estimate` then guesses from bytes. `files_new` to `files_removed` compare the input with what is planned;
    `rows_prunable` are those that `run --prune` would remove. `precision` is auto where the first run will try one;
    `cost` is None without a rate card."""

    format: str
    shards_total: int
    shards_done: int
    shards_remaining: int
    images_total: int | None
    images_estimate: int
    images_done: int
    ignored: int
    ignored_examples: tuple[str, ...]
    stale_parts: int
    files_new: int
    files_changed: int
    files_removed: int
    rows_prunable: int
    precision: str
    layout: Layout
    warnings: tuple[str, ...]
    output: str
    cost: Cost | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forecast_predict(spec: AnySpec, *, address: str | None = None, rate_card: RateCard | None = None) -> Forecast:
    """Looks at input and output and writes nothing; connects to Ray only for the resources of `address`."""
    prepared = prepare(spec)
    if prepared.claimed is not None:
        check_definition(prepared.paths, prepared.definition, prepared.claimed)
    plan = plan_input(prepared, cell_rows=prepared.cell_rows)
    state = look(prepared.paths, plan, prepared.definition.digest)
    works = todo(plan, state)
    layout = choose_layout(
        _resources(address),
        prepared.settings.compute,
        shards=len(works) or len(plan.shards),
        output_px=prepared.model_px,
        answers_per_pixel=prepared.answers_per_pixel,
        weights_bytes=prepared.model.weights_bytes,
        partly=address is not None,
    )
    is_tried = prepared.precision != AUTO or layout.gpus_per_predictor
    return Forecast(
        format=prepared.input.format,
        shards_total=len(plan.shards),
        shards_done=len(plan.shards) - len(works),
        shards_remaining=len(works),
        images_total=state.images_total,
        images_estimate=state.images_estimate,
        images_done=state.images,
        ignored=plan.ignored,
        ignored_examples=plan.ignored_examples,
        stale_parts=len(state.stale) + sum(map(len, state.replaced.values())),
        files_new=plan.new,
        files_changed=plan.changed,
        files_removed=plan.removed,
        rows_prunable=_rows_prunable(plan, state),
        precision=prepared.precision if is_tried else EXACT,
        layout=layout,
        warnings=plan.warnings,
        output=prepared.paths.output,
        cost=None if rate_card is None else _cost(rate_card, state, prepared.paths),
    )


def plan_input(prepared: Prepared, *, cell_rows: int, write: bool = False, prune: bool = False) -> Plan:
    """The plan of the input; SpecError, naming input.uri or output.uri, when one of them cannot be used."""
    try:
        return make_plan(prepared.paths, prepared.input, prepared.format, cell_rows=cell_rows, write=write, prune=prune)
    except StorageError as error:
        with reading_output() if is_inside(error.uri, prepared.paths.output) else reading_input():
            raise


def _cost(card: RateCard, state: OutputState, paths: LedgerPaths) -> Cost:
    """Of the images that have no row yet; SpecError when the runs that tell the pace cannot be read."""
    told_by = paths if card.runs is None else LedgerPaths(card.runs)
    with reading_output():
        return estimate_cost(card, max(0, state.images_estimate - state.images), newest_runs(told_by))


def _rows_prunable(plan: Plan, state: OutputState) -> int:
    """Of what left the input: whole parts of files, and single rows of groups that have a part."""
    replaced = {part.record.shard for parts in state.replaced.values() for part in parts}
    return state.kept_rows + sum(
        count for key, count in plan.removed_members.items() if key in state.done or key in replaced
    )


def _resources(address: str | None) -> Resources:
    if address is None:
        return machine_resources()
    from vision_batch.cluster.connect import connected

    with connected(address) as resources:
        return resources
