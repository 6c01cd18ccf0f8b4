"""The page about the output of a train job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from vision_batch.models.trained import TrainedModel, read_model
from vision_batch.report.charts import SERIES, Chart, Line, line_chart, thinned
from vision_batch.report.figures import UNKNOWN, duration, facts, number, percent, share_bar, table, words
from vision_batch.report.html import Child, Html, foreign, tag
from vision_batch.report.page import Headline, Section
from vision_batch.report.record import Record, training_tables

POINTS_SHOWN: Final = 400
BROKEN_SHOWN: Final = 20
FOLDS_SHOWN: Final = 10


def training_sections(record: Record) -> list[Section]:
    """What was learned, how, of which images, and how quickly."""
    model = read_model(record.paths.output)
    found = [_outcome(record), _curves(record), _model(model), _broken(record), _speed(record)]
    return [section for section in found if section is not None]


def training_headlines(record: Record) -> list[Headline]:
    counts = _counts(record)
    metrics: Mapping[str, float] = counts.get("metrics") or {}
    named = [
        Headline(name=words(name), number=number(value, 3), note="on validation images")
        for name, value in sorted(metrics.items())
        if name != "loss"
    ][:1]
    epochs = f"of {counts.get('epochs_total') or UNKNOWN}"
    named.append(Headline(name="epochs", number=number(counts.get("epochs")), note=epochs))
    named.append(Headline(name="images", number=number(counts.get("images_ok")), note="to learn from and measure on"))
    seconds = None if record.run is None else record.run.seconds
    named.append(Headline(name="time", number=duration(seconds), note=f"with {counts.get('workers') or 0} workers"))
    return named


def _outcome(record: Record) -> Section | None:
    counts = _counts(record)
    metrics: Mapping[str, float] = counts.get("metrics") or {}
    folds: Sequence[Mapping[str, float]] = counts.get("folds") or ()
    if not metrics:
        return None
    deviations = counts.get("deviations") or {}
    heads = ["metric", "mean of the folds" if folds else "validation"]
    heads += ["deviation", *(f"fold {fold}" for fold in range(len(folds[:FOLDS_SHOWN])))] if folds else []
    rows = []
    for name, value in sorted(metrics.items()):
        row: list[Child] = [words(name), number(value, 4)]
        if folds:
            row.append(number(deviations.get(name), 4))
            row += [number(fold.get(name), 4) for fold in folds[:FOLDS_SHOWN]]
        rows.append(row)
    shown = table("Of the final model", heads, rows, numeric=range(1, len(heads)))
    return Section(key="outcome", title="How good it is", content=shown)


def _curves(record: Record) -> Section | None:
    charts: list[Child] = []
    for fold, epochs in training_tables(record.paths, "epochs").items():
        charts += _of_epochs(fold, _last_by(epochs, "epoch"))
    for fold, steps in training_tables(record.paths, "steps").items():
        charts.append(_rate(fold, _last_by(steps, "step")))
    if not charts:
        return None
    return Section(key="curves", title="How it learned", content=tag("div", charts, class_="columns"))


def _of_epochs(fold: str, rows: list[dict[str, Any]]) -> list[Html]:
    """The losses in one chart, what validation measured in another."""
    names = sorted({name for row in rows for name in row if name.startswith("validation_")} - {"validation_loss"})
    losses = {"training": "train_loss", "validation": "validation_loss"}
    charts = [_epochs_chart(fold, "loss", "Loss", "loss", losses, rows)]
    metrics = {words(name.removeprefix("validation_")): name for name in names[: len(SERIES)]}
    if metrics:
        charts.append(_epochs_chart(fold, "metrics", "Validation", "value", metrics, rows))
    return charts


def _epochs_chart(
    fold: str, key: str, title: str, y: str, columns: Mapping[str, str], rows: list[dict[str, Any]]
) -> Html:
    lines = []
    for colour, (name, column) in zip(SERIES, columns.items(), strict=False):
        points = [(float(row["epoch"]), row.get(column)) for row in rows if row.get(column) is not None]
        if points:
            lines.append(Line(name=name, points=thinned(points, POINTS_SHOWN), colour=colour))
    last = "; ".join(f"{line.name} ends at {line.points[-1][1]:.4g}" for line in lines)
    chart = Chart(key=_key(key, fold), title=_title(title, fold), about=f"{title} by epoch: {last}.", x="epoch", y=y)
    return line_chart(chart, lines)


def _rate(fold: str, rows: list[dict[str, Any]]) -> Html:
    points = [(float(row["step"]), row["learning_rate"]) for row in rows if row["learning_rate"] is not None]
    most = max((rate for _, rate in points), default=0.0)
    chart = Chart(
        key=_key("rate", fold),
        title=_title("Learning rate", fold),
        about=f"The learning rate by step; the highest is {most:.3g}.",
        x="step",
        y="learning rate",
    )
    return line_chart(chart, [Line(name="learning rate", points=thinned(points, POINTS_SHOWN))])


def _model(model: TrainedModel | None) -> Section | None:
    if model is None:
        return None
    trained = model.training
    pairs: list[tuple[str, Child]] = [
        ("Made from", foreign(model.model.source, 120)),
        ("Task", foreign(str(model.task.get("type")))),
        ("Labels", _labels(model.labels)),
        ("Weights of", f"step {trained.model_step:,} of {trained.steps:,}{', averaged' if trained.ema else ''}"),
        ("Learned from", [number(model.data.images), " images, measured on ", number(model.data.validation_images)]),
        ("Data", [foreign(", ".join(model.data.uris), 160)]),
        ("Precision", foreign(model.precision)),
        ("Files", foreign(", ".join(sorted(model.files)), 200)),
        ("Made with", f"vision-batch {model.code.vision_batch}, torch {model.code.torch}"),
    ]
    if model.not_exported:
        pairs.append(("Not exported", foreign(model.not_exported, 300)))
    pairs.append(("Digest of the data", foreign(model.data.catalogue_sha256[:16])))
    return Section(key="model", title="The model", content=tag("div", facts(pairs), class_="card"))


def _labels(labels: list[str] | None) -> Child:
    if not labels:
        return UNKNOWN
    shown: list[Child] = [foreign(label, 30) for label in labels[:20]]
    apart = [part for label in shown for part in (", ", label)][1:]
    return [number(len(labels)), ": ", *apart, ", …" if len(labels) > 20 else ""]


def _broken(record: Record) -> Section | None:
    """Images that training went without."""
    counts = _counts(record)
    codes = Counter(counts.get("failures") or {})
    if not codes:
        return None
    most = max(codes.values())
    rows = [
        (foreign(code), number(count), share_bar(count, counts.get("images_total") or 0, most, "var(--bad)"))
        for code, count in codes.most_common()
    ]
    content: list[Child] = [table("By code", ("code", "images", "of all"), rows, numeric=(1, 2))]
    named = [row for broken in training_tables(record.paths, "broken").values() for row in broken.to_pylist()]
    if named:
        listed = [
            (foreign(row["image_id"] or UNKNOWN), tag("code", row["error_code"]), foreign(row["error"] or "", 120))
            for row in named[:BROKEN_SHOWN]
        ]
        content.append(table("Some of them", ("image", "code", "what was wrong"), listed))
    about = f"{sum(codes.values()):,} images could not be used and were left out."
    return Section(key="broken", title="Broken images", about=about, content=tag("div", content, class_="columns"))


def _speed(record: Record) -> Section | None:
    counts = _counts(record)
    rate = counts.get("images_per_second")
    if rate is None:
        return None
    bottleneck = counts.get("bottleneck")
    pairs: list[tuple[str, Child]] = [
        ("Images a second", number(rate, 1)),
        ("Waited for images", percent(counts.get("waited") or 0.0, 1)),
        ("First step after", duration(counts.get("first_batch_seconds"))),
    ]
    about = f"Limited by {bottleneck}." if bottleneck else None
    return Section(key="speed", title="Speed", about=about, content=tag("div", facts(pairs), class_="card"))


def _counts(record: Record) -> Mapping[str, Any]:
    return {} if record.run is None else record.run.counts


def _last_by(rows: pa.Table, column: str) -> list[dict[str, Any]]:
    """In order of a column; of rows that were written again, as after a resume, the last."""
    return [row for _, row in sorted({row[column]: row for row in rows.to_pylist()}.items())]


def _key(name: str, fold: str) -> str:
    return f"{name}-{fold}" if fold else name


def _title(name: str, fold: str) -> str:
    return f"{name}, {fold.replace('-', ' ')}" if fold else name
