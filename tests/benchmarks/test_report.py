from pathlib import Path

import pytest

from tests.benchmarks.measurement import Line, Measurement
from tests.benchmarks.report import losses, table
from tests.benchmarks.results import Result, merge_results, read_results
from tests.benchmarks.table import MEASUREMENTS

FAST = Line(figure="over limit", what="speed", bound=0.92)
SMALL = Line(figure="over budget", what="memory", better="less", bound=1.0, steadfast=True)
SECONDS = Line(figure="plan s", what="a plan", better="less", bound=20, unit="s")
MEASUREMENT = Measurement(
    name="case", rounds=lambda folder, size: iter(()), size=1000, quick_size=10, lines=(FAST, SMALL, SECONDS)
)


def taken(size: int = 1000, missing: str = "", foreign: float = 0.0, **figures: list[float]) -> Result:
    named = {name.replace("_", " "): values for name, values in figures.items()}
    facts = {"taken": "2026-01-02", "commit": "abc", "machine": "2 cores", "versions": "ray 2"}
    return Result(name="case", size=size, figures=named, missing=missing, foreign=foreign, **facts)


def worse(now: Result, before: Result) -> list[str]:
    return list(losses([now], [before], [MEASUREMENT]))


def rows(result: Result) -> list[str]:
    return table([result], [MEASUREMENT]).splitlines()[2:]


def test_table_judges_medians_and_never_rounds_a_miss_away() -> None:
    assert rows(taken(over_limit=[0.5, 0.919, 0.95], over_budget=[0.4], plan_s=[21.0])) == [
        "| speed | 1,000 | 3 | ≥ 0.92 | 0.92 | missed |",
        "| memory | 1,000 | 3 | ≤ 1.00 | 0.40 | met |",
        "| a plan | 1,000 | 3 | ≤ 20 s | 21 s | missed |",
    ]


def test_nothing_but_memory_is_judged_on_a_shared_machine() -> None:
    assert rows(taken(over_limit=[1.7], over_budget=[0.4], foreign=0.3)) == [
        "| speed | 1,000 | 1 | ≥ 0.92 | 1.70 | not judged: others took 30% of the cores |",
        "| memory | 1,000 | 1 | ≤ 1.00 | 0.40 | met |",
        "| a plan | 1,000 | 1 | ≤ 20 s |  | not measured: see above |",
    ]
    assert not worse(taken(over_limit=[0.2], foreign=0.3), taken(over_limit=[0.9]))
    assert not worse(taken(over_limit=[0.2]), taken(over_limit=[0.9], foreign=0.3))
    assert worse(taken(over_budget=[0.9], foreign=0.3), taken(over_budget=[0.4]))


def test_table_says_why_nothing_was_measured() -> None:
    assert rows(taken(missing="no gateway"))[0] == "| speed | 1,000 | 0 | ≥ 0.92 |  | not measured: no gateway |"


@pytest.mark.parametrize(
    ("before", "now", "is_told"),
    [
        ([0.80, 0.81], [0.79, 0.79], False),  # below the least noise
        ([0.80, 0.81], [0.70, 0.70], True),
        ([0.70, 0.80, 0.90], [0.70, 0.70], False),  # the rounds before were that far apart
        ([0.80, 0.80], [0.60, 0.70, 0.80], False),  # so are those of now
        ([0.80], [0.74], False),  # nobody knows the noise of a single round
        ([0.80], [0.70], True),
        ([0.70], [0.80], False),
    ],
)
def test_guard_tells_of_what_is_worse_by_more_than_the_noise(
    before: list[float], now: list[float], is_told: bool
) -> None:
    assert bool(worse(taken(over_limit=now), taken(over_limit=before))) == is_told


def test_guard_knows_what_better_means() -> None:
    (told,) = worse(taken(over_budget=[0.9, 0.9]), taken(over_budget=[0.6, 0.6]))
    assert told == "memory: 0.90, 50% worse; it was 0.60 at abc on 2 cores, and 3% would be noise"
    assert not worse(taken(over_budget=[0.6, 0.6]), taken(over_budget=[0.9, 0.9]))


def test_guard_compares_like_with_like() -> None:
    assert not worse(taken(over_limit=[0.1], size=10), taken(over_limit=[0.9]))
    assert not worse(taken(plan_s=[40.0]), taken(plan_s=[4.0])), "seconds do not travel between machines"
    assert not worse(taken(missing="no gateway"), taken(over_limit=[0.9]))


def test_new_results_take_the_place_of_old_ones_of_their_size(tmp_path: Path) -> None:
    path = tmp_path / "last.json"
    merge_results(path, [taken(over_limit=[0.5]), taken(size=10, over_limit=[0.6])])
    merge_results(path, [taken(over_limit=[0.7]), taken(size=10, missing="no gateway")])
    assert [(kept.size, kept.median("over limit")) for kept in read_results(path)] == [(1000, 0.7), (10, 0.6)]


def test_every_measurement_has_its_own_name() -> None:
    names = [measurement.name for measurement in MEASUREMENTS]
    assert len(set(names)) == len(names)
