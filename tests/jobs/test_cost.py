"""Hours and money from a rate card and from what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.jobs.cost import NodeCost, estimate_cost
from vision_batch.jobs.rate_card import NodeType, Pace, RateCard
from vision_batch.ledger.run_record import RunRecord


def card(hours: float | None = None, **nodes: NodeType) -> RateCard:
    return RateCard(hours=hours, nodes=nodes)


def run(name: str, rate: float | None, cpus: int = 0, gpus: float = 0) -> RunRecord:
    counts: dict[str, Any] = {"images_per_second": rate, "cpus": cpus, "gpus": gpus}
    return RunRecord(
        run_id=name, status="done", started="", definition="", output="", version="", spec={}, counts=counts
    )


def only(of: RateCard, images: int, *runs: RunRecord) -> NodeCost:
    (node,) = estimate_cost(of, images, runs).nodes
    return node


CPU = NodeType(cpus=10, price_per_hour=2.0, images_per_second=Pace(per_core=100))


def test_hours_and_cost_of_one_kind_of_node() -> None:
    node = only(card(cpu=CPU), 3_600_000)
    assert (node.images_per_second, node.limited_by, node.source) == (1000, "cpus", "the rate card")
    assert (node.nodes, node.node_hours, node.hours, node.cost) == (1, 1.0, 1.0, 2.0)


def test_nodes_enough_for_the_hours_that_there_are() -> None:
    node = only(card(hours=3, cpu=CPU), 36_000_000)
    assert (node.node_hours, node.nodes, node.hours, node.cost) == (10.0, 4, 2.5, 20.0)


@pytest.mark.parametrize(("cpus", "pace", "bound"), [(4, 400, "cpus"), (64, 900, "gpus")])
def test_the_lower_bound_holds_on_a_node_with_gpus(cpus: int, pace: float, bound: str) -> None:
    gpu = NodeType(cpus=cpus, gpus=1, price_per_hour=1, images_per_second=Pace(per_core=100, per_gpu=900))
    node = only(card(gpu=gpu), 1000)
    assert (node.images_per_second, node.limited_by) == (pace, bound)


def test_the_newest_run_on_such_nodes_tells_where_the_card_does_not() -> None:
    kinds = card(cpu=NodeType(cpus=16, price_per_hour=1), gpu=NodeType(cpus=16, gpus=2, price_per_hour=1))
    runs = [
        run("short", None, 4),
        run("old version", 10.0),
        run("c", 400.0, 4),
        run("g", 3000.0, 8, 1),
        run("z", 1.0, 1),
    ]
    cheap, dear = estimate_cost(kinds, 1000, runs).nodes
    assert (cheap.name, cheap.images_per_second, cheap.source) == ("gpu", 6000, "run g")
    assert (dear.name, dear.images_per_second, dear.source) == ("cpu", 1600, "run c")


def test_a_run_without_gpus_says_nothing_of_nodes_with_them() -> None:
    kinds = card(gpu=NodeType(cpus=16, gpus=1, price_per_hour=1), cpu=CPU)
    known, unknown = estimate_cost(kinds, 1000, [run("c", 400.0, 4)]).nodes
    assert (known.name, unknown.name) == ("cpu", "gpu")
    assert (unknown.cost, unknown.nodes, unknown.images_per_second) == (None, None, None)
    assert "try --limit there" in unknown.source


def test_no_more_runs_are_read_than_are_needed() -> None:
    def runs() -> Iterator[RunRecord]:
        yield run("c", 400.0, 4)
        raise AssertionError("another one was read")

    estimate_cost(card(cpu=NodeType(cpus=1, price_per_hour=1)), 1000, runs())
    estimate_cost(card(cpu=CPU), 1000, runs())


def test_nothing_to_do_costs_nothing() -> None:
    node = only(card(hours=1, cpu=CPU), 0)
    assert (node.node_hours, node.nodes, node.cost) == (0, 1, 0)


@given(
    images=st.integers(0, 10**12),
    hours=st.floats(0.01, 1000),
    cpus=st.integers(1, 512),
    per_core=st.floats(0.01, 10**5),
    price=st.floats(0, 1000),
)
def test_so_many_nodes_are_done_in_time_and_one_less_is_not(
    images: int, hours: float, cpus: int, per_core: float, price: float
) -> None:
    kind = NodeType(cpus=cpus, price_per_hour=price, images_per_second=Pace(per_core=per_core))
    node = only(card(hours=hours, kind=kind), images)
    assert node.nodes is not None
    needed = images / (cpus * per_core) / 3600
    assert needed <= node.nodes * hours * (1 + 1e-9)
    assert node.nodes == 1 or needed > (node.nodes - 1) * hours * (1 - 1e-9)
