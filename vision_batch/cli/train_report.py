"""What a person wants to know of a train job: before a run, and when it has ended."""

from __future__ import annotations

from collections.abc import Mapping

from vision_batch.jobs.forecast_train import TrainForecast
from vision_batch.jobs.train_summary import TrainSummary, validation_figures


def print_train_summary(summary: TrainSummary) -> None:
    """The model's metrics first."""
    total = "?" if summary.images_total is None else f"{summary.images_total:,}"
    epochs = f"{summary.epochs:,} epochs" if summary.folds else f"epoch {summary.epochs:,} of {summary.epochs_total:,}"
    print(f"{summary.status}: {epochs}, {summary.steps:,} steps")
    if summary.metrics:
        print(f"  metrics     {_metrics(summary.metrics, summary.deviations)} ({_whose(summary)})")
    for number, fold in enumerate(summary.folds):
        print(f"  fold {number:<6} {_metrics(fold, {})}")
    print(f"  images      {total}, {summary.images_failed:,} of them broken")
    if summary.failures:
        print(f"  failures    {', '.join(f'{code} {count:,}' for code, count in sorted(summary.failures.items()))}")
    print(f"  time        {summary.seconds:.1f} s{_pace(summary)}")
    if summary.bottleneck is not None:
        print(f"  limited by  {summary.bottleneck}")
    for warning in summary.warnings:
        print(f"  warning     {warning}")
    print(f"  output      {summary.output}")
    if summary.status == "done" and not summary.folds:
        print(f"  predict     model: {{source: trained:{summary.output}}}")


CLASSES_SHOWN = 20


def print_train_forecast(forecast: TrainForecast) -> None:
    """What a run would do."""
    layout = forecast.layout
    print(f"input       {forecast.format}: {forecast.shards_total:,} shards, {_images(forecast)}")
    if forecast.class_images is not None:
        shown = [f"{name} {count:,}" for name, count in list(forecast.class_images.items())[:CLASSES_SHOWN]]
        more = [f"… {len(forecast.class_images):,} in all"] if len(forecast.class_images) > CLASSES_SHOWN else []
        print(f"classes     {', '.join([*shown, *more])}")
    steps = "" if forecast.steps_estimate is None else f" of about {forecast.steps_estimate:,} steps"
    steps = steps if forecast.steps_per_epoch is None else f" of {forecast.steps_per_epoch:,} steps"
    print(f"training    {forecast.epochs:,} epochs{steps}, precision {forecast.precision}")
    if forecast.folds is not None:
        print(f"folds       {forecast.folds_done:,} of {forecast.folds:,} are finished")
    print(f"done        {_done(forecast)}")
    print(f"layout      {layout.name}, because {layout.reason}")
    fewest, most = layout.workers
    workers = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    threads = f"{layout.decode_threads} decode thread{'s' if layout.decode_threads != 1 else ''}"
    if layout.preprocessors:
        print(f"            {workers} workers with {layout.place} each")
        cpus = f"{layout.cpus_per_preprocessor} CPUs, {threads} each"
        print(f"            {layout.preprocessors} preprocessors with {cpus}")
    else:
        print(f"            {workers} workers with {layout.place}, {threads} each")
    for warning in forecast.warnings:
        print(f"warning     {warning}")
    print(f"output      {forecast.output}")


def _images(forecast: TrainForecast) -> str:
    if forecast.images is None:
        if forecast.images_listed is not None:
            return f"{forecast.images_listed:,} images, which the first run splits and counts by label"
        return "whose images the first run counts"
    return f"{forecast.images:,} images to learn from, {forecast.validation_images:,} to be measured on"


def _done(forecast: TrainForecast) -> str:
    if forecast.is_finished:
        return "all: a run would do nothing"
    if not forecast.steps_done:
        return "nothing: no checkpoint is there"
    per_epoch = forecast.steps_per_epoch
    epochs = "" if not per_epoch else f", {forecast.steps_done / per_epoch:.2f} epochs"
    return f"{forecast.steps_done:,} steps{epochs}: a run goes on from that checkpoint"


def _metrics(metrics: Mapping[str, float], deviations: Mapping[str, float]) -> str:
    spread = validation_figures(deviations)
    return ", ".join(
        f"{name} {value:.4f}" + (f" ± {spread[name]:.4f}" if name in spread else "")
        for name, value in validation_figures(metrics).items()
    )


def _whose(summary: TrainSummary) -> str:
    """Of which weights the metrics are."""
    if summary.status != "done":
        return "of the latest validation"
    return "mean of the folds" if summary.folds else "of the model: its best epoch"


def _pace(summary: TrainSummary) -> str:
    if summary.first_batch_seconds is None:
        return ""
    pace = f"; first step after {summary.first_batch_seconds:.1f} s"
    return pace if summary.images_per_second is None else f"{pace}, then {summary.images_per_second:,.0f} images/s"
