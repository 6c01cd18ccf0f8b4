"""The options that say what is right."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vision_batch.documents.validation import validate_settings
from vision_batch.errors import Problem, SpecError
from vision_batch.storage.uri import normalise

if TYPE_CHECKING:
    from vision_batch.evaluation.settings import TruthSettings


def add_truth(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Adds them; `default` says what is right without them."""
    parser.add_argument(
        "--truth",
        metavar="URI",
        help="what is right: Parquet, a folder of images for each class, COCO JSON, a folder of mask PNGs; "
        f"by default {default}",
    )
    parser.add_argument("--truth-format", metavar="FORMAT", help="parquet, folder, coco or masks")
    parser.add_argument(
        "--truth-column", metavar="COLUMN", help="of a Parquet: what is right, instead of the task's own"
    )
    parser.add_argument("--id-column", metavar="COLUMN", help="of a Parquet: what images are called (image_id)")


def truth_of(arguments: argparse.Namespace) -> TruthSettings | None:
    """What they say, None without `--truth`; SpecError where it is no truth, or missing beside the others."""
    from vision_batch.evaluation.settings import TruthSettings

    options = {"format": "truth_format", "column": "truth_column", "id_column": "id_column"}
    given = {name: getattr(arguments, option) for name, option in options.items()}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.truth is not None:
        uri = normalise(arguments.truth, Path.cwd())
        return validate_settings(TruthSettings, given | {"uri": uri}, what="the command line")
    if given:
        found = ", ".join(f"--{options[name].replace('_', '-')}" for name in given)
        raise SpecError(Problem("--truth", f"nothing, with {found}", "the URI of the truth that these options are of"))
    return None
