"""A progress line says the same to whoever reads it, amid whatever else a log holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.cluster.progress import MARK, JobProgress, describe, last_progress

HALF = JobProgress(
    images_total=10_000,
    images_done=5_000,
    images_failed=7,
    images_per_second=200.0,
    seconds=31.5,
    seconds_left=25,
    shards_total=4,
    shards_done=2,
)

counts = st.integers(0, 10**12)
progresses = st.builds(
    JobProgress,
    images_total=st.none() | counts,
    images_done=counts,
    images_failed=counts,
    images_per_second=st.none() | st.floats(0, 1e9),
    seconds=st.floats(0, 1e9),
    seconds_left=st.none() | counts,
    shards_total=st.none() | counts,
    shards_done=counts,
    waiting=st.none() | st.text(),
)


@given(progresses, st.text(), st.text())
def test_a_line_is_read_as_it_was_written_with_words_around_it(progress: JobProgress, before: str, after: str) -> None:
    assert "\n" not in progress.line()
    assert last_progress([f"{before} {progress.line()} {after}"]) == progress


def test_the_last_line_counts() -> None:
    assert last_progress(
        ["starting", HALF.line(), "a word", replace(HALF, images_done=6_000).line(), "done"]
    ) == replace(HALF, images_done=6_000)


@pytest.mark.parametrize(
    "line",
    [
        MARK,
        MARK + "{",
        MARK + "[]",
        MARK + "null",
        MARK + '{"images_done": 3}',
        HALF.line().replace("5000", '"many"'),
        HALF.line().replace("31.5", "null"),
        HALF.line().replace("5000", "true"),
        HALF.line().replace("null", "3"),
        HALF.line().replace("waiting", "further"),
    ],
)
def test_what_only_looks_like_one_is_passed_over(line: str) -> None:
    assert last_progress([line]) is None
    assert last_progress([HALF.line(), line]) == HALF


def test_a_log_without_a_line_says_nothing() -> None:
    assert last_progress(["Traceback (most recent call last):"]) is None


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (HALF, "5,000 of about 10,000 images, 200/s, 25 s left, 7 failed"),
        (replace(HALF, images_per_second=None, seconds_left=None), "5,000 of about 10,000 images, 7 failed"),
        (replace(HALF, images_per_second=0.0, seconds_left=None), "5,000 of about 10,000 images, 0/s, 7 failed"),
        (replace(HALF, images_total=None), "5,000 images, 200/s, 25 s left, 7 failed"),
        (
            replace(HALF, waiting="for 1 GPU"),
            "5,000 of about 10,000 images, 200/s, 25 s left, 7 failed, waiting for 1 GPU",
        ),
        (replace(HALF, shards_total=None), "planning"),
        (replace(HALF, shards_total=None, waiting="for Ray"), "planning, waiting for Ray"),
    ],
)
def test_people_are_told_in_a_line(progress: JobProgress, said: str) -> None:
    assert describe(progress) == said


def test_a_training_says_how_it_goes() -> None:
    progress = replace(HALF, figures={"epoch": 2, "epochs": 10, "loss": 0.31254, "accuracy": 0.971})
    assert last_progress([progress.line()]) == progress
    assert describe(progress).startswith("epoch 2 of 10, loss 0.3125, accuracy 0.971, ")


def test_what_only_looks_like_figures_is_passed_over() -> None:
    assert last_progress([replace(HALF, figures={"loss": "low"}).line()]) is None  # type: ignore[dict-item]
