"""Rate cards are validated as strictly as specs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vision_batch.errors import SpecError
from vision_batch.jobs.rate_card import RateCard, load_rate_card

GOOD = """
currency: EUR
hours: 8
nodes:
  cpu-16: {cpus: 16, price_per_hour: 0.8, images_per_second: {per_core: 100}}
  l4: {cpus: 8, gpus: 1, price_per_hour: 0.9, images_per_second: {per_core: 400, per_gpu: 1500}}
  spot: {cpus: 16, price_per_hour: 0.3}
"""


def loaded(folder: Path, text: str) -> RateCard:
    path = folder / "rates.yaml"
    path.write_text(text)
    return load_rate_card(path)


def test_a_card_of_nodes_with_and_without_figures(tmp_path: Path) -> None:
    card = loaded(tmp_path, GOOD)
    assert (card.currency, card.hours, [*card.nodes]) == ("EUR", 8, ["cpu-16", "l4", "spot"])
    assert card.nodes["spot"].images_per_second is None


@pytest.mark.parametrize(
    ("before", "after", "where", "expected"),
    [
        ("price_per_hour: 0.3", "price_per_our: 0.3", "nodes.spot.price_per_our", "did you mean 'price_per_hour'"),
        ("price_per_hour: 0.3", "cpu: 1", "nodes.spot.price_per_hour", "nothing"),
        ("price_per_hour: 0.3", "price_per_hour: -1", "nodes.spot.price_per_hour", "-1"),
        ("price_per_hour: 0.3", "price_per_hour: .inf", "nodes.spot.price_per_hour", "inf"),
        ("price_per_hour: 0.3", "price_per_hour: true", "nodes.spot.price_per_hour", "true"),
        ("cpus: 8", "cpus: 0", "nodes.l4.cpus", "0"),
        ("per_core: 100", "per_core: 0", "nodes.cpu-16.images_per_second.per_core", "a number above 0"),
        (", per_gpu: 1500", "", "nodes.l4", "per_gpu where there are gpus"),
        ("per_core: 100", "per_core: 100, per_gpu: 1", "nodes.cpu-16", "per_gpu where there are gpus, and only there"),
        ("hours: 8", "hours: 0", "hours", "0"),
        ("hours: 8", "hours: soon", "hours", "'soon'"),
        ("nodes:", "node:", "nodes", "nothing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, before: str, after: str, where: str, expected: str) -> None:
    assert before in GOOD
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, GOOD.replace(before, after))
    said = [str(problem) for problem in caught.value.problems]
    assert any(line.startswith(f"{tmp_path}/rates.yaml: {where}: ") and expected in line for line in said), said


@pytest.mark.parametrize("text", ["", "nodes: {}", "- a", "nodes: [", "nodes: {a: 1}"])
def test_what_is_no_card(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError, match=r"rates\.yaml"):
        loaded(tmp_path, text)


def test_the_card_in_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (block,) = re.findall(r"```yaml\n(# rates.yaml\n.*?)```", text, re.DOTALL)
    assert loaded(tmp_path, block).hours == 8


def test_a_trial_may_tell_the_pace(tmp_path: Path) -> None:
    assert loaded(tmp_path, f"runs: trial/\n{GOOD}").runs == str(tmp_path / "trial")
    assert loaded(tmp_path, f"runs: s3://bucket/trial/\n{GOOD}").runs == "s3://bucket/trial"
    with pytest.raises(SpecError, match=r"rates.yaml: https://host/trial: found the scheme https://"):
        loaded(tmp_path, f"runs: https://host/trial\n{GOOD}")


def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file; expected a rate card"):
        load_rate_card(tmp_path / "rates.yaml")
