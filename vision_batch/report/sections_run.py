"""The sections of a page that tell of runs: accounting, speed, and what ran."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from vision_batch.ledger.run_record import RunRecord
from vision_batch.report.charts import SERIES, Chart, bar_chart, histogram
from vision_batch.report.figures import UNKNOWN, counted, duration, facts, number, percent, share_bar, table
from vision_batch.report.html import Child, Html, foreign, join, shortened, tag
from vision_batch.report.page import Section
from vision_batch.report.record import Record
from vision_batch.report.survey import SIZE_EDGES, Survey

RUNS_SHOWN: Final = 8
WARNINGS_SHOWN: Final = 20
MOST_TEXT: Final = 20_000
"""Characters of a definition or a spec, which may list a hundred thousand inputs."""
PERIOD_S: Final = 10.0
"""Of a row of the throughput, as `inference/metrics.py` writes it."""
BARS: Final = 120
GOOD: Final = frozenset({"done"})
BUSY: Final[Mapping[str, str]] = {
    "read": "read shards",
    "decode": "decode images",
    "preprocess": "resize and crop",
    "wait": "wait for pixels",
    "copy": "copy to the device",
    "model": "model",
    "postprocess": "make rows",
    "hold": "hold rows until written",
    "write": "write parts",
}


def status(run: RunRecord) -> Html:
    return tag("span", run.status, class_=f"status {'good' if run.status in GOOD else 'bad'}")


def accounting(record: Record | None, survey: Survey) -> Section:
    """How many images there are, and that each has its row."""
    counts: Mapping[str, Any] = record.runs[0].counts if record and record.runs else {}
    total = counts.get("images_total")
    run_counts: Mapping[str, Any] = record.run.counts if record and record.run else {}
    rows: list[tuple[Child, ...]] = [
        ("with a row", number(survey.rows), percent(survey.rows, survey.rows)),
        ("predicted", number(survey.ok), percent(survey.ok, survey.rows)),
        ("failed", number(survey.failed), percent(survey.failed, survey.rows)),
    ]
    if run_counts.get("images_resumed"):
        resumed = int(run_counts["images_resumed"])
        rows.append(("done before this run", number(resumed), percent(resumed, survey.rows)))
    accounted = [table("Images", ("images", "number", "share"), rows, numeric=(1, 2)), sizes(survey)]
    return Section(
        key="accounting",
        title="Every image accounted for" if total == survey.rows else "Images and their rows",
        about=_statement(total, survey.rows, record),
        content=tag("div", accounted, class_="columns"),
    )


def speed(record: Record) -> Section | None:
    """Images a second over the time of the run, and what its workers were busy with."""
    run, metrics = record.run, record.metrics
    if run is None or not len(metrics.get("throughput", ())):
        return None
    parts = [_throughput(metrics["throughput"], run)]
    if "stages" in metrics and len(metrics["stages"]):
        parts.append(_stages(metrics["stages"]))
    bottleneck = run.counts.get("bottleneck")
    limited = (
        f"Limited by {bottleneck}."
        if bottleneck
        else "Too little came after the first batch to tell what limited the run."
    )
    return Section(key="speed", title="Speed", about=limited, content=tag("div", parts, class_="columns"))


def what_ran(record: Record) -> Section:
    """The run, the runs of this output, its definition and the spec."""
    run = record.run
    content: list[Child] = []
    if run is not None:
        warnings = run.counts.get("warnings") or []
        content.append(tag("div", _run_facts(run), class_="card"))
        if warnings:
            noted = [tag("li", foreign(warning, 300)) for warning in warnings[:WARNINGS_SHOWN]]
            content.append(tag("div", tag("h3", "Warnings"), tag("ul", noted), class_="card warning"))
    if len(record.runs) > 1:
        content.append(tag("h3", "Runs of this output, the newest first"))
        content.append(_runs(record))
    definition = json.dumps(record.facts, indent=2, sort_keys=True, ensure_ascii=False)
    content.append(_folded("What decides a prediction: the definition", definition))
    if run is not None:
        content.append(_folded("The spec", json.dumps(run.spec, indent=2, ensure_ascii=False)))
    return Section(key="run", title="What ran", content=content)


def sizes(survey: Survey) -> Html | None:
    """Of the images whose size is known."""
    if survey.smallest is None or survey.largest is None:
        return None
    counts = survey.sizes.tolist()
    used = [index for index, count in enumerate(counts) if count]
    places = range(max(0, used[0] - 1), min(len(counts), used[-1] + 2))
    names = [f"< {SIZE_EDGES[0]}" if index == 0 else str(SIZE_EDGES[index - 1]) for index in places]
    (narrow, low), (wide, high) = survey.smallest, survey.largest
    about = f"The smallest image has {narrow} x {low} pixels, the largest {wide} x {high}."
    chart = Chart(
        key="sizes", title="Image sizes", about=about, x="longer side, from so many pixels", y="images", note=about
    )
    return bar_chart(chart, names, [counts[index] for index in places])


def _statement(total: int | None, rows: int, record: Record | None) -> Child:
    if record is None:
        return "A table without a ledger: nobody knows how many images there should be."
    if total is None:
        return "How many images the input has is not known yet: its shards have not all been read."
    known = f"The input has {counted(total, 'image')} and the output {counted(rows, 'row')}"
    if total == rows:
        return f"{known}: one for each image."
    more = "without a row so far" if total > rows else "more rows than images: some left the input"
    return f"{known}: {abs(total - rows):,} {more}."


def _throughput(throughput: pa.Table, run: RunRecord) -> Html:
    """The periods, or where there are very many of them whole numbers of them together."""
    ends = np.rint(throughput["seconds"].to_numpy() / PERIOD_S).astype(np.int64)
    periods = max(1, int(ends.max(initial=1)))
    together = -(-periods // BARS)
    images = np.bincount((ends - 1) // together, throughput["images"].to_numpy())
    edges = [PERIOD_S * together * index for index in range(len(images) + 1)]
    stop = PERIOD_S * periods if run.seconds is None else min(PERIOD_S * periods, run.seconds)
    edges[-1] = stop if stop > edges[-2] else edges[-1]  # what is not whole is no slower
    rates = images / np.diff(edges)
    rate = run.counts.get("images_per_second")
    chart = Chart(
        key="throughput",
        title="Throughput",
        about=f"Images a second in periods of {PERIOD_S * together:g} s; the highest is {rates.max():,.0f}.",
        x="seconds since the run began",
        y="images / s",
        note=None if rate is None else f"From the first batch on: {rate:,.1f} images/s.",
    )
    return histogram(chart, edges, rates.tolist())


def _stages(stages: pa.Table) -> Html:
    busy: Counter[str] = Counter()
    cpu: Counter[str] = Counter()
    for row in stages.to_pylist():
        busy[row["stage"]] += row["busy_seconds"]
        cpu[row["stage"]] += row["cpu_seconds"]
    most, total = max(busy.values()), sum(busy.values())
    rows = [
        (BUSY.get(stage, stage), share_bar(seconds, total, most, SERIES[0]), number(seconds, 1), number(cpu[stage], 1))
        for stage, seconds in busy.most_common()
    ]
    heads = ("stage", "share", "seconds", "of the CPU")
    return table("What the workers were busy with, all of them together", heads, rows, numeric=(1, 2, 3))


def _run_facts(run: RunRecord) -> Html:
    counts = run.counts
    pairs: list[tuple[str, Child]] = [
        ("Run", [foreign(run.run_id), " ", status(run)]),
        ("Began", tag("time", run.started.replace("T", " ").replace("+00:00", " UTC"), datetime=run.started)),
        ("Took", duration(run.seconds)),
        ("Output", foreign(run.output, 120)),
        ("Model", foreign(str((run.spec.get("model") or {}).get("source", UNKNOWN)), 120)),
        ("Precision", foreign(str(counts.get("precision", UNKNOWN)))),
        ("vision-batch", foreign(run.version)),
    ]
    if counts.get("first_batch_seconds") is not None:
        pairs.insert(3, ("First batch after", duration(counts["first_batch_seconds"])))
    if counts.get("cpus"):
        pairs.append(("Had", f"{counts['cpus']:g} CPUs, {counts.get('gpus') or 0:g} GPUs"))
    if run.error:
        pairs.append(("Ended with", foreign(run.error, 300)))
    return facts(pairs)


def _runs(record: Record) -> Html:
    rows = []
    for run in record.runs[:RUNS_SHOWN]:
        counts = run.counts
        computed = None
        if "images_ok" in counts:
            computed = counts["images_ok"] + counts.get("images_failed", 0) - counts.get("images_resumed", 0)
        rows.append((foreign(run.run_id), status(run), number(computed), duration(run.seconds)))
    heads = ("run", "ended", "rows computed", "time")
    return table("Runs", heads, rows, numeric=(2, 3))


def _folded(title: str, text: str) -> Html:
    return tag("details", tag("summary", title), tag("pre", shortened(text, MOST_TEXT), tabindex=0))


def lead(record: Record | None, uri: str) -> Html:
    """Below the title: which run this is, how it ended and where the output lies."""
    if record is None or record.run is None:
        return foreign(uri, 120)
    run = record.run
    began = tag("time", run.started[:16].replace("T", " "), datetime=run.started)
    return join([status(run), " ", began, " UTC, ", duration(run.seconds), ". ", foreign(uri, 120)])
