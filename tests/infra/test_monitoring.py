"""Dashboard and alerts can be read by Grafana and Prometheus, and ask for metrics that there are."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest

from tests.infra.questions import (
    ALERTS,
    DASHBOARD,
    FOLDER,
    FROM_RAY,
    FROM_RUNS,
    FROM_SCHEDULES,
    LABELS,
    OBJECTS,
    PANELS,
    QUESTIONS,
    asked_for,
    names,
    selectors,
)
from tests.infra.validation import validate


@pytest.mark.parametrize("found", OBJECTS.values(), ids=lambda found: found["kind"])
def test_objects_are_valid(found: dict[str, Any]) -> None:
    validate(found)


@pytest.mark.parametrize("question", QUESTIONS)
def test_expressions_are_what_prometheus_takes(question: str) -> None:
    assert names(QUESTIONS[question])


@pytest.mark.parametrize("question", QUESTIONS)
def test_counters_are_asked_for_their_growth_and_gauges_for_their_value(question: str) -> None:
    grown = set(re.findall(r"(?:rate|increase)\((\w+)", QUESTIONS[question]))
    counters = {name for name in FROM_RUNS | FROM_SCHEDULES if name.endswith("_total")}
    assert grown == names(QUESTIONS[question]) & counters


@pytest.mark.parametrize("question", QUESTIONS)
def test_labels_are_those_that_metrics_have(question: str) -> None:
    """Ray adds labels of nodes and processes to every metric, so that what runs tell is summed up by our own."""
    expression = QUESTIONS[question]
    matched = {matcher.name for selector in selectors(expression) for matcher in selector.matchers.matchers}
    grouped = {label for labels in re.findall(r"by \(([^)]+)\)", expression) for label in labels.split(", ")}
    assert matched | grouped <= LABELS
    assert grouped or not names(expression) & FROM_RUNS


def test_nothing_is_asked_that_nobody_tells() -> None:
    """That a node really has those of runs and of Ray is seen in tests/integration/test_predict.py."""
    assert asked_for() <= FROM_RUNS | FROM_SCHEDULES | FROM_RAY


def test_every_metric_of_runs_is_shown() -> None:
    shown = {
        name
        for panel in PANELS
        for target in panel["targets"]
        for name in names(target["expr"].replace("$__rate_interval", "1m"))
    }
    assert shown >= FROM_RUNS


def test_the_readme_names_every_metric() -> None:
    readme = (FOLDER.parent / "README.md").read_text()
    for name in FROM_RUNS | FROM_SCHEDULES:
        short = name.removeprefix("ray_vision_batch").removeprefix("vision_batch_schedule")
        assert f"`{name}`" in readme or f"`…{short}`" in readme, name


def test_alerts_say_what_to_do() -> None:
    for name, rule in ALERTS.items():
        assert rule["annotations"].keys() == {"summary", "action"}, name
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert used <= LABELS


def test_panels_have_places_and_numbers_of_their_own() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    for one, other in combinations((panel["gridPos"] for panel in DASHBOARD["panels"]), 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)
        assert one["x"] + one["w"] <= 24


def test_panels_ask_the_source_that_is_chosen() -> None:
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "spec"}
    for panel in PANELS:
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        assert set(re.findall(r"\$(\w+)", "".join(target["expr"] for target in panel["targets"]))) <= {
            "spec",
            "__rate_interval",
        }
