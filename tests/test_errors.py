"""Errors cross processes: every one of them must come out of a pickle as it went in."""

from __future__ import annotations

import pickle

import pytest

from vision_batch import errors
from vision_batch.errors import ImageError, Problem, SpecError, StorageError, VisionBatchError

PROBLEMS = (Problem("model.source", "'pyton:m:f'", "one of python:…"), Problem("task.top_k", "0", "at least 1"))


def example(kind: type[VisionBatchError]) -> VisionBatchError:
    """One of `kind`, with all that it can carry."""
    if issubclass(kind, SpecError):
        return kind(PROBLEMS)
    if issubclass(kind, ImageError):
        return kind("truncated", "ends early", width=640, height=480)
    if issubclass(kind, (StorageError, errors.LedgerError, errors.ShardError, errors.CheckpointError)):
        return kind("s3://bucket/key", "503 after 8 attempts")
    return kind("what happened")


def every_error() -> list[type[VisionBatchError]]:
    found: list[type[VisionBatchError]] = []
    left: list[type[VisionBatchError]] = [VisionBatchError]
    while left:
        error = left.pop()
        found.append(error)
        left += error.__subclasses__()
    return [error for error in found if error.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_an_error_survives_a_pickle(kind: type[VisionBatchError]) -> None:
    before = example(kind)
    after = pickle.loads(pickle.dumps(before))
    assert type(after) is kind
    assert str(after) == str(before)
    assert vars(after) == vars(before)


def test_a_spec_error_shows_every_problem_on_its_own_line() -> None:
    assert str(SpecError(PROBLEMS)).splitlines() == [
        "model.source: found 'pyton:m:f'; expected one of python:…",
        "task.top_k: found 0; expected at least 1",
    ]


def test_one_problem_is_as_good_as_a_list_of_one() -> None:
    assert SpecError(PROBLEMS[0]).problems == SpecError([PROBLEMS[0]]).problems == (PROBLEMS[0],)


def test_a_storage_error_names_its_object() -> None:
    error = StorageError("/data/a.jpg", "could not")
    assert (str(error), error.uri) == ("/data/a.jpg: could not", "/data/a.jpg")


def test_an_image_error_may_know_no_size() -> None:
    error = ImageError("empty", "0 bytes")
    assert (error.code, error.width, error.height) == ("empty", None, None)


def test_every_documented_error_is_in_the_drawn_tree() -> None:
    assert errors.__doc__ is not None
    assert [kind.__name__ for kind in every_error() if kind.__name__ not in errors.__doc__] == []
