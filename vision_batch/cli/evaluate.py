"""`vision-batch evaluate`: how good predictions are."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cli.termination import terminated_like_interrupted
from vision_batch.cli.truth import add_truth, truth_of
from vision_batch.datasets.naming import shortened
from vision_batch.documents.validation import validate_settings
from vision_batch.storage.uri import normalise

if TYPE_CHECKING:
    from vision_batch.evaluation.evaluation import Evaluation, Result

SUMMARY = "measure predictions against the truth: metrics with intervals, by class and by slice"

SHOWN_CLASSES: Final = 10
NAME_LENGTH: Final = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", help="the output.uri of a run, or a Parquet file, folder or glob")
    add_truth(parser, default="the predictions' own column truth")
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="measure every value of this column on its own too"
    )
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="resamples for intervals, 0 for none")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resamples")
    parser.add_argument(
        "--k", type=int, nargs="+", default=[1, 5, 10], metavar="K", help="embeddings: numbers of neighbours"
    )
    parser.add_argument(
        "--failed", default="wrong", metavar="HOW", help="wrong (the default) or left_out: images without a prediction"
    )
    parser.add_argument("--to", metavar="FOLDER", help="where the results go; default: PREDICTIONS-evaluation")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def execute(arguments: argparse.Namespace) -> int:
    from vision_batch.evaluation.evaluate import evaluate
    from vision_batch.evaluation.results import demand_apart, results_folder, write_results
    from vision_batch.evaluation.settings import EvaluateSettings
    from vision_batch.ledger.predictions import Predictions

    names = ("by", "bootstrap", "seed", "failed", "k")
    settings = validate_settings(
        EvaluateSettings, {name: getattr(arguments, name) for name in names}, what="the command line"
    )
    truth = truth_of(arguments)
    uri = normalise(arguments.predictions, Path.cwd())
    to = results_folder(uri, None if arguments.to is None else normalise(arguments.to, Path.cwd()))
    predictions = Predictions.open(uri)
    demand_apart(predictions, to)
    with terminated_like_interrupted():  # so that temporary files go
        evaluation = evaluate(predictions, truth, settings)
    write_results(evaluation, to)
    print_evaluation(evaluation, to)
    if arguments.json:
        emit_json(evaluation.as_dict() | {"output": to})
    return ExitCode.DONE


def print_evaluation(evaluation: Evaluation, to: str) -> None:
    """What a person wants to know: of how many images, the metrics, the worst classes, the slices."""
    print(f"{evaluation.kind}: {evaluation.images:,} images with a truth, of which {evaluation.images_failed:,} failed")
    if evaluation.images_without_truth:
        print(f"  left out    {evaluation.images_without_truth:,} images that have no truth")
    if evaluation.truths_without_image:
        print(f"  left out    {evaluation.truths_without_image:,} truths of images that are not in the predictions")
    whole = [result for result in evaluation.results if result.slice is None]
    overall = [result for result in whole if result.label is None]
    print_table([("metric", "value", "95 % interval"), *((r.metric, number(r.value), interval(r)) for r in overall)])
    by_class = [result for result in whole if result.label is not None]
    if by_class:
        print_table(class_table(by_class))
    by_slice = [result for result in evaluation.results if result.slice is not None and result.label is None]
    if by_slice:
        headline = overall[0].metric
        rows = [
            (shown(r.slice or ""), number(r.value), interval(r), f"{r.support:,}")
            for r in by_slice
            if r.metric == headline
        ]
        print_table([("slice", headline, "95 % interval", "support"), *rows])
    print()
    for note in evaluation.notes:
        print(f"  note        {note}")
    print(f"  results     {to}")


def class_table(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """The classes for which the first metric is worst, with their metrics side by side."""
    by_class: dict[str, dict[str, Result]] = defaultdict(dict)
    for result in results:
        by_class[result.label or ""][result.metric] = result
    metrics = list(dict.fromkeys(metric for found in by_class.values() for metric in found))
    first = "f1" if "f1" in metrics else metrics[0]

    def worth(name: str) -> float:
        found = by_class[name].get(first)
        return 2.0 if found is None or found.value is None else found.value

    worst = sorted(by_class, key=worth)[:SHOWN_CLASSES]
    title = "class" if len(worst) == len(by_class) else f"class ({len(worst)} worst of {len(by_class):,})"
    rows = []
    for name in worst:
        found = by_class[name]
        values = (number(found[metric].value) if metric in found else "" for metric in metrics)
        rows.append((shown(name), *values, f"{max(result.support for result in found.values()):,}"))
    return [(title, *metrics, "support"), *rows]


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Aligned columns, the first one to the left."""
    print()
    for line in aligned(rows):
        print(f"  {line}")


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A line for each row."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            f"{row[0]:<{widths[0]}}",
            *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        yield "  ".join(cells).rstrip()


def shown(name: str) -> str:
    """A foreign text as a cell: short, and without what would move the cursor or colour the terminal."""
    return shortened("".join(letter if letter.isprintable() else "\ufffd" for letter in name), NAME_LENGTH)


def number(value: float | None) -> str:
    """With four digits after the point; - where it is not defined."""
    return "-" if value is None else f"{value:.4f}"


def interval(result: Result) -> str:
    """Empty where there is none."""
    return "" if result.low is None or result.high is None else f"{result.low:.4f} to {result.high:.4f}"
