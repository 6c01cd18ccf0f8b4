"""What is left of a job in hours and money, on each kind of node of a rate card."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from vision_batch.jobs.rate_card import NodeType, Pace, RateCard
from vision_batch.ledger.run_record import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How fast a run was on the CPUs and GPUs that it had."""

    run_id: str
    pace: Pace

    @staticmethod
    def of(record: RunRecord) -> Measured | None:
        """None for a run that was too short to tell, or that says nothing of what it had."""
        rate, cpus, gpus = (record.counts.get(name) for name in ("images_per_second", "cpus", "gpus"))
        if not rate or not cpus:
            return None
        return Measured(run_id=record.run_id, pace=Pace(per_core=rate / cpus, per_gpu=rate / gpus if gpus else None))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCost:
    """The job on one kind of node.

    `nodes` of them take `hours` each, `node_hours` in all, which cost `cost`. `limited_by` is cpus or gpus; `source`
    says where the pace is from. Where no pace is known they are None, and `source` says what to do.
    """

    name: str
    images_per_second: float | None
    limited_by: str | None
    node_hours: float | None
    nodes: int | None
    hours: float | None
    cost: float | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The figures for `images`, the cheapest kind of node first, those without figures last."""

    currency: str
    images: int
    nodes: tuple[NodeCost, ...]


def estimate_cost(card: RateCard, images: int, runs: Iterable[RunRecord]) -> Cost:
    """What `images` cost. `runs` may tell the pace, the newest first: no more are looked at than is needed.

    A run tells of nodes like its own: with GPUs or without, since there the CPUs do the model's work too. It is taken
    to be bound by all that it had, so that nodes of another shape may be faster than this says, not slower.
    """
    paces = _paces(card, runs)
    nodes = [_node_cost(name, node, images, card, paces.get(node.gpus > 0)) for name, node in card.nodes.items()]
    nodes.sort(key=lambda node: math.inf if node.cost is None else node.cost)
    return Cost(currency=card.currency, images=images, nodes=tuple(nodes))


def _paces(card: RateCard, runs: Iterable[RunRecord]) -> dict[bool, Measured]:
    """The newest measurement without GPUs and with them, as far as the rate card needs them."""
    wanted = {node.gpus > 0 for node in card.nodes.values() if node.images_per_second is None}
    found: dict[bool, Measured] = {}
    remaining = iter(runs if wanted else ())
    while not wanted <= found.keys() and (record := next(remaining, None)) is not None:
        measured = Measured.of(record)
        if measured is not None:
            found.setdefault(measured.pace.per_gpu is not None, measured)
    return found


def _node_cost(name: str, node: NodeType, images: int, card: RateCard, measured: Measured | None) -> NodeCost:
    pace, source = node.images_per_second, "the rate card"
    if pace is None and measured is not None:
        pace, source = measured.pace, f"run {measured.run_id}"
    if pace is None:
        return NodeCost(
            name=name,
            images_per_second=None,
            limited_by=None,
            node_hours=None,
            nodes=None,
            hours=None,
            cost=None,
            source=f"no run in {card.runs or 'the output'} on such nodes is long enough to tell: "
            "try --limit there and name its output as runs:",
        )
    bounds = {"cpus": node.cpus * pace.per_core}
    if pace.per_gpu is not None:
        bounds["gpus"] = node.gpus * pace.per_gpu
    limited_by = min(bounds, key=bounds.__getitem__)
    node_hours = images / bounds[limited_by] / 3600
    nodes = max(1, math.ceil(node_hours / card.hours)) if card.hours else 1
    return NodeCost(
        name=name,
        images_per_second=bounds[limited_by],
        limited_by=limited_by,
        node_hours=node_hours,
        nodes=nodes,
        hours=node_hours / nodes,
        cost=node_hours * node.price_per_hour,
        source=source,
    )
