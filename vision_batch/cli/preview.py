"""`vision-batch preview`: a picture of what the model will see."""

from __future__ import annotations

import argparse
from pathlib import Path

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.moment import add_moment_argument, scheduled_moment
from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.spec import load_spec

SUMMARY = "draw what the model will see: images as they are preprocessed, augmented and labelled"
MOST_IMAGES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", help="the job's YAML file")
    parser.add_argument("--to", required=True, metavar="FILE.png", help="where the picture goes")
    parser.add_argument(
        "-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override a key of the spec"
    )
    parser.add_argument(
        "--images", type=_count, default=8, metavar="N", help=f"how many images to show, at most {MOST_IMAGES} (8)"
    )
    parser.add_argument(
        "--epoch", type=_epoch, default=1, metavar="E", help="of a train spec: show this epoch and the next three (1)"
    )
    add_moment_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    path = Path(arguments.to)
    if path.suffix.lower() != ".png" or not path.absolute().parent.is_dir():
        raise SpecError(Problem("--to", repr(arguments.to), "a file that ends in .png, in a folder that is there"))
    moment = scheduled_moment(arguments.scheduled_time, arguments.spec)
    spec = load_spec(arguments.spec, arguments.overrides, scheduled_time=moment)
    import cv2

    from vision_batch.jobs.preview import preview

    shown = preview(spec, images=arguments.images, epoch=arguments.epoch)
    data = cv2.imencode(".png", cv2.cvtColor(shown.pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SpecError(Problem("--to", str(error), "a file that can be written")) from error
    broken = f", {shown.broken} of them broken" if shown.broken else ""
    print(f"{path}: {shown.images} images{broken}")
    return ExitCode.DONE


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_IMAGES:
        raise argparse.ArgumentTypeError(f"{text}; expected a number from 1 to {MOST_IMAGES}")
    return number


def _epoch(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}; epochs are counted from 1")
    return number
