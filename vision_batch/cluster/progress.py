"""How far a job is, as one line of its log: so whoever can read the log, from anywhere, can say it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

MARK = "vision-batch-progress "
"""Begins the JSON object of a progress line; a log may put its own words before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """One look at a job that runs.

    `images_total` and `shards_total` are None before the input is planned; the former is an estimate while there are
    tars that nobody has read, or None where nobody needed one. Images count as done when their row is computed, those
    of earlier runs included, and `images_failed` are the error rows among them. `images_per_second` is this run's pace
    since its first batch, None before that. `seconds` have passed since the run began and about `seconds_left` are to
    come. `waiting` says for what the job waits, as `for 1 GPU`. In a training every epoch counts its images anew, and
    `figures` has its `epoch` of `epochs`, both from 1, its `fold` from 0, its `loss`, and the latest metrics by name.
    """

    images_total: int | None
    images_done: int
    images_failed: int
    images_per_second: float | None
    seconds: float
    seconds_left: float | None
    shards_total: int | None
    shards_done: int
    waiting: str | None = None
    figures: Mapping[str, float] | None = None

    def line(self) -> str:
        """The line of a log that says it."""
        return MARK + json.dumps(asdict(self))


def last_progress(lines: Iterable[str]) -> JobProgress | None:
    """What the last progress line says; None where there is none. What only looks like one is passed over."""
    last = None
    for line in lines:
        if MARK in line:
            last = _parse(line.partition(MARK)[2]) or last
    return last


def describe(progress: JobProgress) -> str:
    """In one line, for people: images done, rate, time left, failures."""
    waits = [] if progress.waiting is None else [f"waiting {progress.waiting}"]
    if progress.shards_total is None:
        return ", ".join(["planning", *waits])
    rate, left = progress.images_per_second, progress.seconds_left
    total = "" if progress.images_total is None else f" of about {progress.images_total:,}"
    facts = [
        *_figures(progress.figures or {}),
        f"{progress.images_done:,}{total} images",
        *([] if rate is None else [f"{rate:,.0f}/s"]),
        *([] if left is None else [f"{left:,.0f} s left"]),
        f"{progress.images_failed:,} failed",
    ]
    return ", ".join([*facts, *waits])


def for_people(line: str) -> str:
    """A line of a log, its progress in words."""
    progress = last_progress([line])
    return line if progress is None else describe(progress)


def _figures(figures: Mapping[str, float]) -> list[str]:
    """How a training goes: `epoch 2 of 10, loss 0.31, accuracy 0.97`."""
    rest = dict(figures)
    epoch, epochs = rest.pop("epoch", None), rest.pop("epochs", None)
    said = [] if epoch is None or epochs is None else [f"epoch {epoch:g} of {epochs:g}"]
    return [*said, *(f"{name} {value:.4g}" for name, value in rest.items())]


def _parse(text: str) -> JobProgress | None:
    try:
        facts, _ = json.JSONDecoder().raw_decode(text)
        progress = JobProgress(**facts)
    except (ValueError, TypeError):
        return None
    return progress if _is_sound(progress) else None


def _is_sound(progress: JobProgress) -> bool:
    """Whether all values are of their kind: anything may print a line."""
    counts = (progress.images_done, progress.images_failed, progress.shards_done, progress.seconds)
    unknown = (
        progress.images_total,
        progress.shards_total,
        progress.images_per_second,
        progress.seconds_left,
    )
    return (
        all(_is_number(value) for value in counts)
        and all(value is None or _is_number(value) for value in unknown)
        and (progress.waiting is None or isinstance(progress.waiting, str))
        and (progress.figures is None or _are_figures(progress.figures))
    )


def _are_figures(value: object) -> bool:
    return isinstance(value, dict) and all(_is_number(figure) for figure in value.values())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
