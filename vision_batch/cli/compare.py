"""`vision-batch compare`: what changed between two predictions of the same images, and which is better."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cli.termination import terminated_like_interrupted
from vision_batch.cli.truth import add_truth, truth_of
from vision_batch.documents.validation import validate_settings
from vision_batch.storage.uri import normalise

if TYPE_CHECKING:
    from vision_batch.evaluation.comparison import Comparison, Difference, Judgement

SUMMARY = "say what changed between two outputs and, with the truth, which is better by more than noise"

SHOWN: Final = 10
NOTHING: Final = "(nothing)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="the output.uri of a run, or a Parquet file, folder or glob")
    parser.add_argument("b", help="another one, of the same images")
    add_truth(parser, default="the column truth of A, where it has one")
    parser.add_argument(
        "--min-score", type=float, default=0.0, metavar="S", help="boxes: leave out what has a lower score (0)"
    )
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="resamples for intervals, 0 for none")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resamples")
    parser.add_argument(
        "--k", type=int, nargs="+", default=[1, 5, 10], metavar="K", help="embeddings: numbers of neighbours"
    )
    parser.add_argument("--to", metavar="FOLDER", help="write the images that changed as Parquet, and comparison.json")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def execute(arguments: argparse.Namespace) -> int:
    from vision_batch.evaluation.changed_images import ChangedImages
    from vision_batch.evaluation.compare import compare
    from vision_batch.evaluation.settings import EvaluateSettings
    from vision_batch.ledger.predictions import Predictions

    a, b = (normalise(text, Path.cwd()) for text in (arguments.a, arguments.b))
    chosen = {"bootstrap": arguments.bootstrap, "seed": arguments.seed, "k": arguments.k}
    settings = validate_settings(EvaluateSettings, chosen, what="the command line")
    truth = truth_of(arguments)
    to = None if arguments.to is None else normalise(arguments.to, Path.cwd())
    written = None if to is None else ChangedImages(to, a, b)
    opened = Predictions.open(a), Predictions.open(b)
    sink = written.add if written else None
    with terminated_like_interrupted():  # so that temporary files go
        comparison = compare(*opened, truth, settings, changed=sink, min_score=arguments.min_score)
    if written:
        written.finish(comparison)
    print_comparison(comparison)
    if written:
        print(f"  results     {to}")
    if arguments.json:
        emit_json(comparison.as_dict())
    return ExitCode.DONE


def print_comparison(comparison: Comparison) -> None:
    """What a person wants to know: of how many images, how far they agree, what changed most, which is better."""
    print(f"{comparison.kind}: {comparison.images:,} images in both, {comparison.changed:,} changed")
    print(f"  A           {comparison.a}")
    print(f"  B           {comparison.b}")
    for what, count in (
        ("images only in A", comparison.only_in_a),
        ("images only in B", comparison.only_in_b),
        ("failed in both", comparison.failed_in_both),
        ("of them with another error", comparison.errors_changed),
        ("failed only in A", comparison.failed_only_in_a),
        ("failed only in B", comparison.failed_only_in_b),
    ):
        if count:
            print(f"  {count:<11,} {what}")
    for metric, value in comparison.agreement.items():
        print(f"  {value:<11.4f} {metric}")
    for change in comparison.changes[:SHOWN]:
        images = f": {', '.join(change.images)}" if change.images else ""
        print(f"  {change.count:<11,} {change.a or NOTHING} -> {change.b or NOTHING}{images}")
    if comparison.kinds_of_change > SHOWN:
        print(f"  and {comparison.kinds_of_change - SHOWN:,} other kinds of change")
    if comparison.judgement is not None:
        _print_judgement(comparison.judgement)


def _print_judgement(judgement: Judgement) -> None:
    print(f"by the truth of {judgement.images:,} images: {judgement.verdict}")
    for difference in judgement.differences:
        print(f"  {difference.metric:<28} {difference.a:.4f} -> {difference.b:.4f}  {_shown(difference)}")
    if (test := judgement.mcnemar) is not None:
        apart = f"{test.only_a_right:,} only A has right, {test.only_b_right:,} only B"
        print(f"  McNemar's test: {apart}; p = {test.p_value:.2g}")
    for note in judgement.notes:
        print(f"  note        {note}")


def _shown(difference: Difference) -> str:
    interval = "" if difference.low is None else f" (95 %: {difference.low:+.4f} to {difference.high:+.4f})"
    return f"{difference.difference:+.4f}{interval}"
