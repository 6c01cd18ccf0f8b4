"""Ids and outcomes of jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cluster.job import ENDED, EXIT_MEANINGS, meaning_of_exit, new_job_id, state_of_exit
from vision_batch.cluster.package import JobPackage


def test_an_id_comes_from_name_and_moment_wherever_it_is_computed() -> None:
    moment = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
    assert new_job_id("nightly", moment) == "nightly-20261121T033000Z"
    assert new_job_id("nightly", moment.astimezone(timezone(timedelta(hours=-7)))) == "nightly-20261121T033000Z"


def test_every_exit_code_has_a_meaning() -> None:
    assert set(EXIT_MEANINGS) == {int(code) for code in ExitCode}


@pytest.mark.parametrize(
    ("code", "state"), [(0, "done"), (1, "failed"), (3, "failed"), (4, "failed"), (130, "stopped"), (-9, "failed")]
)
def test_an_exit_code_says_how_a_job_ended_that_was_asked_to(code: int, state: str) -> None:
    assert state_of_exit(code, asked=True) == state
    assert state in ENDED


def test_what_is_interrupted_and_nobody_asked_for_it_has_failed() -> None:
    assert state_of_exit(130, asked=False) == "failed"
    assert state_of_exit(0, asked=False) == "done"


def test_the_meaning_of_an_exit_code_is_in_words() -> None:
    assert meaning_of_exit(4).startswith("incomplete: ")
    assert meaning_of_exit(4).endswith("(exit code 4)")
    assert meaning_of_exit(-9).startswith("killed by signal 9")
    assert "99" in meaning_of_exit(99)


def test_a_package_s_digest_is_its_content() -> None:
    package = JobPackage(name="n", files={"a": b"1", "b": b"2"}, arguments=("run", "a"), output="s3://b/out")
    same = JobPackage(name="m", files={"b": b"2", "a": b"1"}, arguments=("run", "a"), output="s3://b/out")
    other = JobPackage(name="n", files={"a": b"1", "b": b"3"}, arguments=("run", "a"), output="s3://b/out")
    assert package.digest == same.digest != other.digest
