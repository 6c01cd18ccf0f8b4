"""What dashboard and alerts ask Prometheus, and which metrics there are to answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser

from tests.infra.kustomize import identity, render
from vision_batch.cluster.schedule.status_page import METRICS, PREFIX
from vision_batch.inference.live_tally import COUNTERS, GAUGES

FOLDER = Path(__file__).parent.parent.parent / "infra" / "monitoring"
OBJECTS = {identity(found): found for found in render(FOLDER)}
RULES = OBJECTS["PrometheusRule", "vision-batch"]["spec"]["groups"]
DASHBOARD = json.loads(OBJECTS["ConfigMap", "vision-batch-dashboard"]["data"]["dashboard.json"])
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

FROM_RUNS = {f"ray_{measure.name}_total" for measure in COUNTERS} | {f"ray_{measure.name}" for measure in GAUGES}
FROM_SCHEDULES = {f"{PREFIX}{name}" for name in (*METRICS, "refused_specs")}
FROM_RAY = {"ray_node_cpu_utilization", "ray_node_mem_used", "ray_node_mem_total"}
LABELS = {"schedule", "state", "spec", "ip"} | {measure.label for measure in (*COUNTERS, *GAUGES) if measure.label}

ALERTS = {rule["alert"]: rule for group in RULES for rule in group["rules"]}
QUESTIONS = {
    **{f"alert {name}": rule["expr"] for name, rule in ALERTS.items()},
    **{
        f"panel {panel['title']}": target["expr"].replace("$__rate_interval", "1m")
        for panel in PANELS
        for target in panel["targets"]
    },
}


def selectors(expression: str) -> Iterator[Any]:
    """The selectors of metrics in an expression of Prometheus."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return (part for part in found if isinstance(part, promql_parser.VectorSelector))


def names(expression: str) -> set[str]:
    return {selector.name for selector in selectors(expression)}


def asked_for() -> set[str]:
    """Every metric that a panel or an alert wants to know."""
    return {name for expression in QUESTIONS.values() for name in names(expression)}
