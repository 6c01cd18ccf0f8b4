"""What an audit has to say, by kind: the first few of each kind are named, the rest counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

EXAMPLES = 10


class Findings:
    """Problems make an output wrong or incomplete; warnings do not."""

    def __init__(self) -> None:
        self._problems: dict[str, list[str]] = defaultdict(list)
        self._warnings: dict[str, list[str]] = defaultdict(list)

    def problem(self, kind: str, sentence: str) -> None:
        self._problems[kind].append(sentence)

    def warn(self, kind: str, sentence: str) -> None:
        self._warnings[kind].append(sentence)

    @property
    def problems(self) -> list[str]:
        return _shortened(self._problems)

    @property
    def warnings(self) -> list[str]:
        return _shortened(self._warnings)


def _shortened(findings: Mapping[str, list[str]]) -> list[str]:
    lines: list[str] = []
    for kind, sentences in findings.items():
        lines += sentences[:EXAMPLES]
        if len(sentences) > EXAMPLES:
            lines.append(f"{len(sentences) - EXAMPLES} more: {kind}")
    return lines
