"""Results as a table for people, and what has got worse since the last one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tests.benchmarks.measurement import Line, Measurement
from tests.benchmarks.results import Result

LEAST_NOISE = 0.03
"""No difference of a ratio below this is told of, however close the rounds were to each other."""
UNKNOWN_NOISE = 0.10
"""What a ratio of a single round may be off by, where nobody has measured it."""

HEADER = "| what | size | rounds | target | measured | |\n| --- | --- | --- | --- | --- | --- |"


def table(results: Sequence[Result], measurements: Iterable[Measurement]) -> str:
    """Markdown, a row for each line of each measurement that has a result, in the order of the measurements."""
    rows = [
        _row(line, result)
        for measurement in measurements
        for result in results
        if result.name == measurement.name
        for line in measurement.lines
    ]
    return "\n".join([HEADER, *rows])


def sources(results: Sequence[Result]) -> str:
    """Markdown, a sentence for each machine, set of versions, day and commit that the results are from."""
    taken: dict[str, list[str]] = {}
    for result in results:
        where = f"{result.taken}, commit {result.commit}, {result.machine}, {result.versions}"
        taken.setdefault(where, []).append(f"{result.name} of {result.size:,}")
    return "\n".join(f"- {where}: {', '.join(names)}" for where, names in taken.items())


def details(result: Result) -> str:
    """One line with every figure's median, and its spread over the rounds."""
    return f"{result.name}: " + ", ".join(_detail(result, figure) for figure in result.figures)


def losses(results: Iterable[Result], last: Iterable[Result], measurements: Iterable[Measurement]) -> Iterator[str]:
    """A sentence for each ratio that is worse than in `last`, of the same size, by more than the noise of both.

    What others have disturbed, then or now, is not compared.
    """
    before = {(result.name, result.size): result for result in last}
    lines = {measurement.name: measurement.lines for measurement in measurements}
    for result in results:
        old = before.get((result.name, result.size))
        for line in lines[result.name]:
            if old is not None and (line.steadfast or not (old.is_disturbed or result.is_disturbed)):
                yield from _loss(line, old, result)


def _loss(line: Line, old: Result, new: Result) -> Iterator[str]:
    then, now = old.median(line.figure), new.median(line.figure)
    if not line.is_ratio or then is None or now is None:
        return
    noise, loss = max(_noise(old, line.figure), _noise(new, line.figure)), line.loss(then, now)
    if loss > noise:
        since = f"it was {then:.2f} at {old.commit} on {old.machine}"
        yield f"{line.what}: {now:.2f}, {loss:.0%} worse; {since}, and {noise:.0%} would be noise"


def _noise(result: Result, figure: str) -> float:
    spread = result.spread(figure)
    return UNKNOWN_NOISE if spread is None else max(LEAST_NOISE, spread)


def _row(line: Line, result: Result) -> str:
    value = result.median(line.figure)
    sign = "≥" if line.better == "more" else "≤"
    target = "" if line.bound is None else f"{sign} {_said(line, line.bound)}"
    if value is None:
        measured, verdict = "", f"not measured: {result.missing or 'see above'}"
    else:
        measured, verdict = _said(line, value), _verdict(line, result, value)
    return f"| {line.what} | {result.size:,} | {result.rounds} | {target} | {measured} | {verdict} |"


def _verdict(line: Line, result: Result, value: float) -> str:
    """Memory is what it is, whoever works beside; nothing else is judged on a machine that others share."""
    if result.is_disturbed and not line.steadfast:
        return f"not judged: others took {result.foreign:.0%} of the cores"
    return "" if line.bound is None else "met" if line.meets(value) else "missed"


def _said(line: Line, value: float) -> str:
    return f"{value:.2f}" if line.is_ratio else f"{_number(value)} {line.unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _detail(result: Result, figure: str) -> str:
    value, spread = result.median(figure), result.spread(figure)
    assert value is not None
    return f"{figure} {_number(value)}" + ("" if spread is None else f" (±{spread / 2:.0%})")
