"""`vision-batch export`: predictions for other tools."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.storage.uri import normalise

SUMMARY = "write predictions for other tools: COCO, YOLO, CSV, Label Studio, folders by class, WebDataset"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the output.uri of a run, or Parquet with its columns")
    parser.add_argument("--format", required=True, help="coco, yolo, csv, labelstudio, folders or webdataset")
    parser.add_argument("--to", required=True, metavar="URI", help="a folder of its own; an earlier export is replaced")
    parser.add_argument("--min-score", type=float, metavar="S", help="leave out what has a lower score")
    parser.add_argument("--copy-images", action="store_true", help="coco, yolo: copy the images beside their labels")
    parser.add_argument("--scores", action="store_true", help="yolo: write each box's score at the end of its line")
    parser.add_argument(
        "--image-prefix", metavar="URL", help="labelstudio: what stands before an image's id in its URL"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def execute(arguments: argparse.Namespace) -> int:
    from vision_batch.export.export import export
    from vision_batch.export.job import Options

    options = Options(
        min_score=arguments.min_score,
        copy_images=arguments.copy_images,
        scores=arguments.scores,
        image_prefix=arguments.image_prefix,
    )
    uri, to = (normalise(text, Path.cwd()) for text in (arguments.output, arguments.to))
    exported = export(uri, format=arguments.format, to=to, options=options)
    print(
        f"{exported.to}: {exported.images:,} images, {exported.annotations:,} annotations in {exported.files:,} files"
    )
    if exported.left_out:
        print(f"  left out    {exported.left_out:,} images of a lower score")
    for code, count in exported.errors.items():
        print(f"  error       {count:,} {code}; listed in _errors.csv")
    if arguments.json:
        emit_json(asdict(exported))
    return ExitCode.INCOMPLETE if exported.unread else ExitCode.DONE
