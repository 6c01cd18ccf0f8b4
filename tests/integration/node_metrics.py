"""The metrics of a Ray node, fetched as Prometheus does."""

from __future__ import annotations

import re
import time
import urllib.request
from collections import defaultdict
from contextlib import suppress

from prometheus_client.parser import text_string_to_metric_families

OURS = {"spec", "code", "stage", "part"}
"""Labels that we give; Ray adds those of the node and the process."""

Values = dict[tuple[tuple[str, str], ...], float]
"""By the labels that tell them apart, beside the spec."""


class NodeMetrics:
    """What a node's agent has at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def wait(self) -> None:
        """Until it answers: it starts after the node, and what is told earlier is lost."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(OSError):
                self._fetch()
                return
            time.sleep(0.1)
        raise AssertionError(f"no metrics at {self._url}")

    def names(self) -> set[str]:
        return set(re.findall(r"^(\w+)[{ ]", self._fetch(), re.MULTILINE))

    def of_spec(self, spec: str) -> dict[str, Values]:
        """What runs of this spec told, by name."""
        lines = [line for line in self._fetch().splitlines() if f'spec="{spec}"' in line]
        told: defaultdict[str, Values] = defaultdict(dict)
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                labels = sorted((key, value) for key, value in sample.labels.items() if key in OURS - {"spec"})
                told[sample.name][tuple(labels)] = sample.value
        return dict(told)

    def _fetch(self) -> str:
        with urllib.request.urlopen(self._url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text
