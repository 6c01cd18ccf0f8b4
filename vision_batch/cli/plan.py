"""`vision-batch plan`: says what a run would do, and writes nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.moment import add_moment_argument, scheduled_moment
from vision_batch.cli.output import emit_json
from vision_batch.cli.train_report import print_train_forecast
from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.cost import Cost
from vision_batch.jobs.evaluate import EvaluateForecast, forecast_evaluate
from vision_batch.jobs.forecast import Forecast, forecast_predict
from vision_batch.jobs.forecast_train import forecast_train
from vision_batch.jobs.rate_card import load_rate_card
from vision_batch.jobs.settings import EvaluateJobSettings, TrainJobSettings
from vision_batch.jobs.spec import load_spec

SUMMARY = "say what a run would do; writes nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", help="the job's YAML file")
    parser.add_argument(
        "-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override a key of the spec"
    )
    add_moment_argument(parser)
    parser.add_argument("--output", metavar="URI", help="look at this output instead of the spec's output.uri")
    parser.add_argument("--address", help="plan for the Ray cluster at this address instead of this machine")
    parser.add_argument(
        "--rate-card", metavar="FILE", help="also say the hours and the cost on the nodes of this YAML file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def execute(arguments: argparse.Namespace) -> int:
    moment = scheduled_moment(arguments.scheduled_time, arguments.spec)
    spec = load_spec(arguments.spec, arguments.overrides, output=arguments.output, scheduled_time=moment)
    if arguments.rate_card is not None and spec.settings.job != "predict":
        raise SpecError(Problem("--rate-card", f"job: {spec.settings.job}, {spec.path}", "a predict job"))
    if isinstance(spec.settings, TrainJobSettings):
        training = forecast_train(spec, address=arguments.address)
        print_train_forecast(training)
        if arguments.json:
            emit_json(training.as_dict())
        return ExitCode.DONE
    if isinstance(spec.settings, EvaluateJobSettings):
        evaluation = forecast_evaluate(spec)
        print_evaluation_forecast(evaluation)
        if arguments.json:
            emit_json(evaluation.as_dict())
        return ExitCode.DONE
    card = None if arguments.rate_card is None else load_rate_card(Path(arguments.rate_card))
    forecast = forecast_predict(spec, address=arguments.address, rate_card=card)
    print_forecast(forecast)
    if arguments.json:
        emit_json(forecast.as_dict())
    return ExitCode.DONE


def print_forecast(forecast: Forecast) -> None:
    """What a person wants to know before a run."""
    images = f"about {forecast.images_estimate:,}" if forecast.images_total is None else f"{forecast.images_total:,}"
    layout = forecast.layout
    print(f"input       {forecast.format}: {forecast.shards_total:,} shards, {images} images")
    if forecast.ignored:
        print(f"ignored     {forecast.ignored:,} other files, as {', '.join(forecast.ignored_examples)}")
    print(f"done        {forecast.shards_done:,} shards, {forecast.images_done:,} images")
    print(f"remaining   {forecast.shards_remaining:,} shards")
    if forecast.stale_parts:
        print(f"stale       {forecast.stale_parts:,} parts of changed input would be replaced")
    files = {"new": forecast.files_new, "changed": forecast.files_changed, "removed": forecast.files_removed}
    if any(files.values()):
        print(f"files       {', '.join(f'{count:,} {what}' for what, count in files.items() if count)}")
    if forecast.rows_prunable:
        print(f"prunable    {forecast.rows_prunable:,} rows of what left the input; run --prune removes them")
    print(f"layout      {layout.name}, because {layout.reason}")
    if layout.preprocessors:
        cpus = f"{layout.cpus_per_preprocessor} CPUs, {layout.decode_threads} decode threads each"
        print(f"            {layout.preprocessors} preprocessors with {cpus}")
    gpus = f", {layout.gpus_per_predictor:g} GPUs" if layout.gpus_per_predictor else ""
    threads = f", {layout.decode_threads} decode threads" if layout.decode_threads and not layout.preprocessors else ""
    print(f"            {layout.predictors} predictors with {layout.cpus_per_predictor} CPUs{gpus}{threads} each")
    up_to = "up to " if layout.batch_trial else ""
    print(f"            batches of {up_to}{layout.batch_rows} images, precision {forecast.precision}")
    if forecast.cost is not None:
        print_cost(forecast.cost)
    for warning in forecast.warnings:
        print(f"warning     {warning}")
    print(f"output      {forecast.output}")


def print_evaluation_forecast(forecast: EvaluateForecast) -> None:
    """What would be measured, and against what."""
    print(f"predictions {forecast.predictions}: {forecast.rows:,} rows of {forecast.kind}")
    print(f"truth       {forecast.truth or 'their own column truth'}")
    if forecast.slices:
        print(f"slices      by {', '.join(forecast.slices)}")
    print(f"intervals   from {forecast.resamples:,} resamples")
    print(f"output      {forecast.output}")


def print_cost(cost: Cost) -> None:
    """One line a kind of node, the cheapest first."""
    print(f"cost        of {cost.images:,} images without a row, on")
    for node in cost.nodes:
        if node.cost is None:
            print(f"            {node.name}: {node.source}")
            continue
        pace = f"{node.images_per_second:,.0f} images/s each, bound by {node.limited_by} ({node.source})"
        print(f"            {node.nodes:,} {node.name}: {node.hours:,.2f} h, {node.cost:,.2f} {cost.currency}; {pace}")
