"""What must agree between the parts of a spec."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase

from vision_batch.errors import Problem
from vision_batch.jobs.settings import PredictSettings
from vision_batch.storage.uri import is_glob, scheme

# The kinds of source that bring no preprocessing of their own.
BARE_SOURCES = ("python", "export")


def inconsistencies(settings: PredictSettings) -> list[Problem]:
    """Every disagreement between the parts of `settings`, whose URIs are normalised."""
    return [*_output_is_apart(settings), *_output_is_no_file(settings), *_one_size(settings)]


def overlap(pattern: str, folder: str) -> bool:
    """Whether one normalised URI is, or is inside, the other; `pattern` may be a glob, `**` stands for any depth."""
    if scheme(pattern) != scheme(folder):
        return False
    glob = is_glob(pattern)
    for expected, found in zip(_segments(pattern), _segments(folder), strict=False):
        if glob and expected == "**":
            return True
        if not (fnmatchcase(found, expected) if glob else found == expected):
            return False
    return True


def _output_is_apart(settings: PredictSettings) -> Iterator[Problem]:
    several = not isinstance(settings.input.uri, str)
    for index, entry in enumerate(settings.input.inputs):
        if overlap(entry.uri, settings.output.uri):
            where = f"input.uri.{index}" if several else "input.uri"
            yield Problem(
                "output.uri",
                f"{settings.output.uri}, which is, holds or is inside {where}, {entry.uri}",
                "a folder apart from the input",
            )


def _output_is_no_file(settings: PredictSettings) -> Iterator[Problem]:
    uri = settings.output.uri
    if not scheme(uri) and os.path.isfile(uri):
        yield Problem("output.uri", f"the file {uri}", "a folder; it need not exist yet")


def _one_size(settings: PredictSettings) -> Iterator[Problem]:
    """A batch holds images of one size. A source with a preprocessing of its own may go without the section."""
    kind = settings.model.source.partition(":")[0]
    preprocess = settings.preprocess
    if preprocess is None:
        if kind in BARE_SOURCES:
            yield Problem("preprocess", "nothing", f"{_SIZES} (a {kind}: model brings no preprocessing of its own)")
    elif preprocess.output_px is None and preprocess.function is None:
        yield Problem("preprocess", "settings that leave images of different sizes", _SIZES)


_SIZES = (
    "the size that the model was trained on: resize_shorter_px with crop_px, resize_px, letterbox_px, or a function"
)


def _segments(uri: str) -> list[str]:
    path = uri if scheme(uri) else os.path.realpath(uri)
    return [segment for segment in path.split("/") if segment]
